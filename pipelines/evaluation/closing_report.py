"""Final steps once all systems are scored: significance tests, and the texts for the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from pipelines.evaluation.results import read_scores
from pipelines.measures.significance import compare_paired, compare_systems
from pipelines.search.judged_parents import parent_contents


def add_significance(entries: Mapping[str, Any], output: Path, baseline: str | None) -> None:
    """Add to each system, in place, its comparison with the baseline, from the files of per-query values.

    Datasets without the baseline are left unchanged.
    """
    for entry in entries.values():
        rows = entry["systems"]
        if baseline not in rows or len(rows) < 2:
            continue
        values = {name: _per_query(output / row["per_query"]) for name, row in rows.items()}
        compared = compare_systems(values, str(baseline))
        for name, block in compared.items():
            rows[name]["significance"] = block


def add_harms(entries: Mapping[str, Any], output: Path, measure: str) -> None:
    """Add to each system, in place, which of the systems that it builds on it is below beyond doubt.

    A reranked system builds on the same system without its reranker, and a fusion on each of its legs alone. Beyond
    doubt means that the 95% bootstrap interval of the difference lies below zero.
    """
    for entry in entries.values():
        rows = entry["systems"]
        values: dict[str, Any] = {}
        for name, row in rows.items():
            row["below"] = {}
            for simpler in _builds_on(name, rows):
                for one in {name, simpler} - values.keys():
                    values[one] = _per_query(output / rows[one]["per_query"], [measure])[measure]
                found = compare_paired(values[name], values[simpler])
                if found.interval[1] < 0:
                    row["below"][simpler] = {
                        "measure": measure,
                        "difference": found.difference,
                        "interval": list(found.interval),
                    }


def _per_query(file: Path, needed: Sequence[str] = ()) -> Mapping[str, NDArray[np.float64]]:
    """Return the values of all queries by measure, from the file that was written with a system's scores."""
    remedy = "delete it and run the evaluation again"
    try:
        values = read_scores(file).per_query
    except InputError as error:
        raise StorageError(f"{error}: {remedy}") from error
    if lacking := [measure for measure in needed if measure not in values]:
        raise StorageError(f"{file} has no values of {lacking[0]}: {remedy}")
    return values


def _builds_on(name: str, rows: Mapping[str, Any]) -> list[str]:
    configuration = rows[name].get("configuration")
    if configuration is None:  # an imported run
        return []
    others = {other: row["configuration"] for other, row in rows.items() if "configuration" in row and other != name}
    if configuration.get("reranker"):
        without = {key: value for key, value in configuration.items() if key not in ("name", "reranker")}
        return [other for other, found in others.items() if {**without, "name": found["name"]} == found]
    legs = configuration["legs"]
    if len(legs) < 2:
        return []
    return [
        other
        for other, found in others.items()
        if len(found["legs"]) == 1 and set(found["legs"]) <= set(legs) and not found.get("reranker")
    ]


def stored_contents(collection: Path) -> Callable[[Sequence[str]], list[str]]:
    """Return a function that reads documents' texts from a collection, opened at each call; empty for unknown ids.

    The text of a document that is stored as chunks is put together from them.
    """

    def contents(doc_ids: Sequence[str]) -> list[str]:
        with DocumentStore.open(collection / "documents.sqlite") as store:
            return [parent_contents(store, doc_id) for doc_id in doc_ids]

    return contents


def corpus_contents(corpus: Iterable[Document]) -> Callable[[Sequence[str]], list[str]]:
    """Return a function that reads documents' texts from a corpus, for external runs without an index."""

    def contents(doc_ids: Sequence[str]) -> list[str]:
        wanted = set(doc_ids)
        found = {document.doc_id: document.contents for document in corpus if document.doc_id in wanted}
        return [found.get(doc_id, "") for doc_id in doc_ids]

    return contents
