"""A results folder read back, and completed: ``results.json``, with the runs and per-query values it names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexing.disk import write_json
from indexing.errors import InputError
from pipelines.measures.evaluate import Scores
from pipelines.measures.significance import compare_systems

FORMAT = 2


@dataclass(frozen=True, slots=True)
class SystemResult:
    """What one system did on one dataset.

    Parameters
    ----------
    measures
        Means over queries by ir-measures' names.
    cost
        ``p50_ms``, ``p95_ms``, ``p99_ms``, ``query_s``, ``encode_s``, ``build_s``, ``index_bytes``, ``peak_mb``, as far
        as they were taken.
    ceiling
        For a reranker: the best values that its candidates allow.
    unjudged
        The part of the first ten hits without a judgement; None where it was not counted.
    significance
        ``{measure: {"baseline", "difference", "interval", "p_t", "p_fisher", "p_holm", "wins", "ties", "losses"}}``.
    published
        What others published for the same: ``{measure: {"value", "source"}}``.
    run, per_query
        Files; a system may have written neither.
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
    """What all systems did on one dataset."""

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
    """One run of the harness; `mean` holds each system's means over the datasets."""

    folder: Path
    command: str
    date: str
    environment: Mapping[str, Any]
    baseline: str | None
    measures: tuple[str, ...]
    datasets: Mapping[str, DatasetResult]
    mean: Mapping[str, Mapping[str, float]]


def read_results(path: str | Path) -> Results:
    """Read ``results.json``, named itself or by its folder.

    Raises
    ------
    InputError
        For a file that is not there, is no JSON, is of another format, or lacks something, saying what.
    """
    return _checked(*_load(path))


def add_significance(path: str | Path) -> None:
    """Compare every system with the baseline, query by query, and write what comes out into ``results.json``.

    The baseline is the one that the results name. Systems that lack per-query values, or have them for other queries
    than the baseline, are left out; without a baseline nothing is written.

    Raises
    ------
    InputError
        As `read_results` and `read_per_query`.
    """
    path, found = _load(path)
    results = _checked(path, found)
    for name, dataset in results.datasets.items():
        scores = {s: read_per_query(system) for s, system in dataset.systems.items() if system.per_query is not None}
        if results.baseline not in scores:
            continue
        queries = scores[results.baseline].query_ids
        paired = {system: one.per_query for system, one in scores.items() if one.query_ids == queries}
        for system, block in compare_systems(paired, results.baseline, results.measures).items():
            found["datasets"][name]["systems"][system]["significance"] = block
    write_json(path, found)


def read_per_query(system: SystemResult) -> Scores:
    """Read a system's values of each query.

    Raises
    ------
    InputError
        For a file that is not there or does not hold one value for each query.
    """
    path = system.per_query
    if path is None or not path.is_file():
        raise InputError(f"{path or 'the file of per-query values'} of the system {system.name!r} is not there")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        query_ids = tuple(str(query_id) for query_id in found["query_ids"])
        values = {name: np.array(column, dtype=np.float64) for name, column in found["measures"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path} holds no per-query values ({type(error).__name__}: {error})") from None
    for name, column in values.items():
        if column.shape != (len(query_ids),):
            raise InputError(f"{path}: {column.size} values of {name} for {len(query_ids)} queries")
    return Scores(query_ids, values)


def _load(path: str | Path) -> tuple[Path, Any]:
    path = Path(path).expanduser()
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path} is not there: give the results.json that an evaluation wrote, or its folder")
    try:
        return path, json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no JSON: {error}") from None


def _checked(path: Path, found: Any) -> Results:
    made = found.get("format") if isinstance(found, dict) else None
    if made != FORMAT:
        raise InputError(f"{path} is of format {made!r}, and {FORMAT} is what is read here: run the evaluation again")
    try:
        return _results(path.parent, found)
    except (KeyError, AttributeError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is not complete ({problem}): run the evaluation again") from None


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
