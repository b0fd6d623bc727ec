"""Rows of ids, as retrieval datasets store them, resolved to texts when a batch is read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from indexing.errors import InputError
from indexing.inputs import require_positive
from pipelines.training.roles import LABELS

if TYPE_CHECKING:
    from datasets import Dataset

Lookup: TypeAlias = "Dataset | tuple[Dataset, str] | tuple[Dataset, str, str]"


_SINGULAR = {"_ids": "", "_id": "", "_idx": ""}
_PLURAL = {"y_ids": "ies", "_ids": "s", "_id": "", "_idx": ""}


def resolve_ids(
    lookups: Mapping[str, "Lookup"],
    keep_columns: Sequence[str] = tuple(LABELS),
    max_list_length: int | None = None,
    output_format: Literal["columns", "lists"] = "columns",
) -> "ResolveIds":
    """Return a function of batches that replaces columns of ids by texts, for ``dataset.set_transform``.

    It returns what sentence-transformers' function of this name does.

    Parameters
    ----------
    lookups
        {column of ids: dataset}; the dataset may come with the names of its columns of ids and of texts. The columns
        of the result have this order: "query_id" becomes "query", and "document_ids", a list of ids in each row,
        "document_1", "document_2" and so on.
    keep_columns
        Other columns to keep: labels.
    max_list_length
        Keep only so many entries of each list.
    output_format
        "lists" keeps each list in one column, "documents", as the listwise losses of cross-encoders read it.

    Raises
    ------
    InputError
        For a dataset without one column of ids and one of texts.
    """
    require_positive(max_list_length=max_list_length)
    if isinstance(keep_columns, str):
        raise InputError(f"keep_columns must be names of columns, not the text {keep_columns!r}")
    if output_format not in ("columns", "lists"):
        raise InputError(f"output_format must be columns or lists, not {output_format!r}")
    sources: dict[str, tuple[dict[Any, int], Any]] = {}
    known: dict[tuple[int, str], dict[Any, int]] = {}
    for column, lookup in lookups.items():
        dataset, ids, values = _lookup(column, lookup)
        key = id(dataset), ids
        if key not in known:
            known[key] = {each: row for row, each in enumerate(dataset[ids])}
        sources[column] = known[key], dataset.with_format(None).select_columns([values])
    return ResolveIds(sources, tuple(keep_columns), max_list_length, output_format)


class ResolveIds:
    """Function from a batch of ids to a batch of texts; see `resolve_ids`."""

    def __init__(
        self,
        sources: Mapping[str, tuple[dict[Any, int], Any]],
        keep_columns: Sequence[str],
        max_list_length: int | None,
        output_format: Literal["columns", "lists"],
    ) -> None:
        self._sources, self._keep, self._most, self._format = sources, keep_columns, max_list_length, output_format

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the columns of texts and the kept ones.

        Raises
        ------
        InputError
            For an unknown id, lists of several lengths, or two columns of one name.
        """
        found: dict[str, list[Any]] = {}
        for column in self._sources:
            for name, values in self._resolved(column, batch[column]).items():
                if name in found:
                    raise InputError(f"two columns become {name!r}: rename a column of ids")
                found[name] = values
        for column in self._keep:
            if column in batch:
                found[column] = [self._cut(value) for value in batch[column]]
        return found

    def _resolved(self, column: str, rows: list[Any]) -> dict[str, list[Any]]:
        name = _renamed(column, _SINGULAR)
        if not rows or not isinstance(rows[0], list | tuple):
            return {name: self._values(column, rows)}
        rows = [self._cut(row) for row in rows]
        flat = self._values(column, [each for row in rows for each in row])
        if self._format == "lists":
            texts = iter(flat)
            return {_renamed(column, _PLURAL): [[next(texts) for _ in row] for row in rows]}
        lengths = sorted({len(row) for row in rows})
        if len(lengths) != 1 or not lengths[0]:
            raise InputError(
                f"the rows of {column!r} hold {', '.join(map(str, lengths))} ids, and a column needs one of each "
                "row: set max_list_length to a common length, or output_format='lists'"
            )
        return {f"{name}_{at + 1}": flat[at :: lengths[0]] for at in range(lengths[0])}

    def _values(self, column: str, ids: list[Any]) -> list[Any]:
        places, dataset = self._sources[column]
        try:
            rows = [places[each] for each in ids]
        except KeyError as error:
            raise InputError(f"the id {error.args[0]!r} of column {column!r} is not in its dataset") from error
        if not rows:
            return []
        values: list[Any] = dataset[rows][dataset.column_names[0]]
        return list(values)

    def _cut(self, value: Any) -> Any:
        return value if self._most is None or not isinstance(value, list | tuple) else value[: self._most]


def _renamed(column: str, endings: Mapping[str, str]) -> str:
    """Return the name of a column of texts for a column of ids."""
    ending = next((ending for ending in endings if column.endswith(ending) and column != ending), None)
    return column if ending is None else column.removesuffix(ending) + endings[ending]


def _lookup(column: str, lookup: Any) -> tuple[Any, str, str]:
    """Return the dataset of a lookup, and the names of its columns of ids and of texts."""
    dataset, *given = lookup if isinstance(lookup, tuple) else (lookup,)
    names = list(dataset.column_names)
    if isinstance(names, dict) or len(given) > 2:
        raise InputError(f"lookups[{column!r}] must be a dataset, alone or with the names of its two columns")
    ids = given[:1] or [name for name in names if name == "id" or name.endswith("_id")]
    values = given[1:] or [name for name in names if name not in ids]
    for kind, found in (("ids", ids), ("texts", values)):
        if len(found) != 1 or found[0] not in names:
            raise InputError(
                f"lookups[{column!r}] has {'no' if not found else 'several'} columns of {kind} among "
                f"{', '.join(names)}: name them, as in (dataset, 'id', 'text')"
            )
    return dataset, ids[0], values[0]
