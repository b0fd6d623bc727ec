"""Reader of results folders: ``results.json`` with the runs and per-query values that it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.json_text import parse_json
from indexing.plurals import counted
from pipelines.measures.evaluate import Scores

FORMAT = 2
"""Version of the format of ``results.json``."""


@dataclass(frozen=True, slots=True)
class SystemResult:
    """Results of one system on one dataset.

    Parameters
    ----------
    measures
        Means over queries by ir-measures' names.
    cost
        The costs of `pipelines.evaluation.cost.COSTS` that were measured, by key.
    ceiling
        For a reranker: the measures of the best possible order of its candidates.
    unjudged
        Fraction of the first ten hits without a judgement; None where it was not measured.
    significance
        ``{measure: {"baseline", "difference", "interval", "p_t", "p_fisher", "p_holm", "wins", "ties", "losses"}}``.
    published
        Published values for the same system: ``{measure: {"value", "source"}}``.
    run, per_query
        Files; None where the system has none.
    """

    name: str
    measures: Mapping[str, float]
    cost: Mapping[str, float]
    ceiling: Mapping[str, float]
    unjudged: float | None
    significance: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, Mapping[str, Any]]
    run: Path | None
    per_query: Path | None


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """Results of all systems on one dataset."""

    name: str
    split: str
    documents: int
    queries: int
    self_hits_dropped: bool
    checks: Mapping[str, int]
    systems: Mapping[str, SystemResult]
    not_run: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """Results of one evaluation; `mean` has each system's means over the datasets."""

    folder: Path
    command: str
    date: str
    environment: Mapping[str, Any]
    baseline: str | None
    measures: tuple[str, ...]
    datasets: Mapping[str, DatasetResult]
    mean: Mapping[str, Mapping[str, float]]


def read_results(path: str | Path) -> Results:
    """Read ``results.json``, given its path or its folder.

    Raises
    ------
    InputError
        For a file that is missing, not JSON, of another format, or incomplete.
    """
    path = local_path(path, "path").expanduser()
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the results.json that an evaluation wrote, or its folder")
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise InputError(f"{path} has format {version!r}; only format {FORMAT} can be read: run the evaluation again")
    try:
        return _results(path.parent, found)
    except (KeyError, AttributeError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is incomplete ({problem}): run the evaluation again") from None


def read_per_query(system: SystemResult) -> Scores:
    """Read the per-query values of a system.

    Raises
    ------
    InputError
        For a file that is missing or does not have one value for each query.
    """
    path = system.per_query
    if path is None or not path.is_file():
        raise InputError(f"{path or 'the file of per-query values'} of the system {system.name!r} does not exist")
    return read_scores(path)


def read_scores(path: Path) -> Scores:
    """Read a file of per-query values.

    Raises
    ------
    InputError
        For a file that cannot be read or does not have one value for each query.
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        query_ids = tuple(str(query_id) for query_id in found["query_ids"])
        values = {name: np.array(column, dtype=np.float64) for name, column in found["measures"].items()}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise InputError(f"{path} has no per-query values ({type(error).__name__}: {error})") from None
    for name, column in values.items():
        if column.shape != (len(query_ids),):
            raise InputError(
                f"{path}: {counted(column.size, 'value')} of {name} for {counted(len(query_ids), 'query')}"
            )
    return Scores(query_ids, values)


def _results(folder: Path, found: Mapping[str, Any]) -> Results:
    return Results(
        folder=folder,
        command=str(found.get("command", "")),
        date=str(found.get("date", "")),
        environment=dict(found.get("environment") or {}),
        baseline=found.get("baseline"),
        measures=tuple(found["measures"]),
        datasets={name: _dataset(folder, name, row) for name, row in found["datasets"].items()},
        mean={name: dict(row["measures"]) for name, row in (found.get("mean") or {}).items()},
    )


def _dataset(folder: Path, name: str, row: Mapping[str, Any]) -> DatasetResult:
    return DatasetResult(
        name=name,
        split=row["split"],
        documents=row["documents"],
        queries=row["queries"],
        self_hits_dropped=bool(row.get("self_hits_dropped")),
        checks=dict(row.get("checks") or {}),
        systems={system: _system(folder, system, values) for system, values in row["systems"].items()},
        not_run=dict(row.get("not_run") or {}),
    )


def _system(folder: Path, name: str, row: Mapping[str, Any]) -> SystemResult:
    def file(key: str) -> Path | None:
        return folder / row[key] if row.get(key) else None

    return SystemResult(
        name=name,
        measures=dict(row["measures"]),
        cost={what: value for what, value in (row.get("cost") or {}).items() if value is not None},
        ceiling=dict(row.get("ceiling") or {}),
        unjudged=row.get("unjudged@10"),
        significance=dict(row.get("significance") or {}),
        published=dict(row.get("published") or {}),
        run=file("run"),
        per_query=file("per_query"),
    )
