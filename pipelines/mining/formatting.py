"""Format mined rows as an Arrow table, in the layouts that losses read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.mining.candidates import Candidates
from pipelines.mining.positives import Positives

if TYPE_CHECKING:
    import pyarrow as pa

Format: TypeAlias = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


class Texts:
    """Texts by number, as an Arrow column: taking rows does not touch Python strings.

    Parameters
    ----------
    texts
        The texts.
    ids
        Their ids, which the table gets as a column of its own; None for none.
    """

    def __init__(self, texts: "list[str] | pa.Array", ids: list[str] | None = None) -> None:
        import pyarrow as pa

        self.texts = pa.array(texts, type=pa.large_string()) if isinstance(texts, list) else texts
        self.ids = None if ids is None else pa.array(ids, type=pa.large_string())

    def take(self, numbers: NDArray[np.int64]) -> "pa.Array":
        """Return the texts of these numbers."""
        return self.texts.take(_indices(numbers))

    def take_ids(self, numbers: NDArray[np.int64]) -> "pa.Array":
        """Return the ids of these numbers."""
        assert self.ids is not None
        return self.ids.take(_indices(numbers))


def formatted(
    layout: Format,
    queries: Texts,
    corpus: Texts,
    first: int,
    positives: Positives,
    positive_scores: NDArray[np.float32],
    negatives: Candidates,
    *,
    scores: bool = False,
    anchor: str = "anchor",
    positive: str = "positive",
) -> "pa.Table":
    """Return the rows of consecutive queries.

    Parameters
    ----------
    layout
        "triplet": one row per positive and negative. "n-tuple": one row per positive with all negatives, if none is
        missing. "labeled-pair": one row per positive (1) and per negative (0). "labeled-list": one row per positive,
        with a list of it and the negatives, if there is at least one negative.
    queries, corpus
        The texts; if the corpus has ids, the rows have them too.
    first
        Number of the first query.
    positives, positive_scores, negatives
        Of these queries; the scores are [positives].
    scores
        Add a column of scores, which replaces the labels if there are any.
    anchor, positive
        Names of the columns.
    """
    if layout not in get_args(Format):
        raise InputError(f"unknown output format {layout!r}: there are {', '.join(get_args(Format))}")
    make = {"triplet": _triplets, "n-tuple": _tuples, "labeled-pair": _pairs, "labeled-list": _lists}[layout]
    return make(_Rows(queries, corpus, first, positives, positive_scores, negatives, scores, anchor, positive))


@dataclass
class _Rows:
    """Arguments of `formatted`."""

    queries: Texts
    corpus: Texts
    first: int
    positives: Positives
    positive_scores: NDArray[np.float32]
    negatives: Candidates
    scores: bool
    anchor: str
    positive: str

    def __post_init__(self) -> None:
        self.available: Any = np.isfinite(self.negatives.scores)
        self.query = self.positives.queries  # of each positive

    def table(self, query: NDArray[np.int64], columns: dict[str, Any], **documents: NDArray[np.int64]) -> "pa.Table":
        """Return a table of the queries' texts, `columns`, and the ids of queries and `documents` if known."""
        import pyarrow as pa

        named = {self.anchor: self.queries.take(query + self.first), **columns}
        if self.corpus.ids is not None:
            if self.queries.ids is not None:
                named[f"{self.anchor}_id"] = self.queries.take_ids(query + self.first)
            named |= {f"{name}_id": self.corpus.take_ids(numbers) for name, numbers in documents.items()}
        return pa.table(named)


def _triplets(rows: _Rows) -> "pa.Table":
    at, column = np.nonzero(rows.available[rows.query])  # [positives, n]
    query, document = rows.query[at], rows.positives.documents[at]
    negative = rows.negatives.documents[query, column]
    columns = {rows.positive: rows.corpus.take(document), "negative": rows.corpus.take(negative)}
    if rows.scores:
        pairs = np.stack((rows.positive_scores[at], rows.negatives.scores[query, column]), axis=1)
        columns["scores"] = _list_column(pairs)
    return rows.table(query, columns, positive=document, negative=negative)


def _tuples(rows: _Rows) -> "pa.Table":
    at = np.flatnonzero(rows.available.all(axis=1)[rows.query])
    query, document = rows.query[at], rows.positives.documents[at]
    negatives = rows.negatives.documents[query]
    names = {f"negative_{n}": negatives[:, n - 1] for n in range(1, negatives.shape[1] + 1)}
    columns = {rows.positive: rows.corpus.take(document)}
    columns |= {name: rows.corpus.take(numbers) for name, numbers in names.items()}
    if rows.scores:
        columns["scores"] = _list_column(
            np.concatenate((rows.positive_scores[at, None], rows.negatives.scores[query]), axis=1)
        )
    return rows.table(query, columns, positive=document, **names)


def _pairs(rows: _Rows) -> "pa.Table":
    import pyarrow as pa

    at, column = np.nonzero(rows.available)
    query = np.concatenate((rows.query, at))
    document = np.concatenate((rows.positives.documents, rows.negatives.documents[at, column]))
    score = np.concatenate((rows.positive_scores, rows.negatives.scores[at, column]))
    label = np.concatenate((np.ones(len(rows.query), np.int64), np.zeros(len(at), np.int64)))
    order = np.lexsort((-label, query))  # the positives of each query, then its negatives
    query, document = query[order], document[order]
    columns: dict[str, Any] = {rows.positive: rows.corpus.take(document)}
    if rows.scores:
        columns["score"] = pa.array(score[order].astype(np.float64))
    else:
        columns["label"] = pa.array(label[order])
    return rows.table(query, columns, positive=document)


def _lists(rows: _Rows) -> "pa.Table":
    import pyarrow as pa

    at = np.flatnonzero(rows.available.any(axis=1)[rows.query])
    query = rows.query[at]
    available = np.concatenate((np.ones((len(at), 1), np.bool_), rows.available[query]), axis=1)
    documents = np.concatenate((rows.positives.documents[at, None], rows.negatives.documents[query]), axis=1)[available]
    offsets = pa.array(np.concatenate(([0], np.cumsum(available.sum(axis=1)))))
    columns: dict[str, Any] = {rows.positive: pa.LargeListArray.from_arrays(offsets, rows.corpus.take(documents))}
    if rows.scores:
        values = np.concatenate((rows.positive_scores[at, None], rows.negatives.scores[query]), axis=1)[available]
        columns["scores"] = pa.LargeListArray.from_arrays(offsets, pa.array(values.astype(np.float64)))
    else:
        labels = np.zeros(available.shape, np.int64)
        labels[:, 0] = 1
        columns["labels"] = pa.LargeListArray.from_arrays(offsets, pa.array(labels[available]))
    table = rows.table(query, columns)
    if rows.corpus.ids is not None:
        ids = pa.LargeListArray.from_arrays(offsets, rows.corpus.take_ids(documents))
        table = table.append_column("positive_id", ids)
    return table


def _list_column(values: NDArray[np.float32]) -> "pa.Array":
    import pyarrow as pa

    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values.astype(np.float64).reshape(-1)))


def _indices(numbers: NDArray[np.int64]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(np.ascontiguousarray(numbers))
