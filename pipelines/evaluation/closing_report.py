"""Final steps once all systems are scored: significance tests, and the texts for the report."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.collection.store import DocumentStore
from indexing.documents import Document
from pipelines.measures.significance import compare_systems


def add_significance(entries: Mapping[str, Any], output: Path, baseline: str | None) -> None:
    """Add to each system, in place, its comparison with the baseline, from the files of per-query values.

    Datasets without the baseline are left unchanged.
    """
    for entry in entries.values():
        rows = entry["systems"]
        if baseline not in rows or len(rows) < 2:
            continue
        values = {name: json.loads((output / row["per_query"]).read_text("utf-8")) for name, row in rows.items()}
        compared = compare_systems({name: found["measures"] for name, found in values.items()}, str(baseline))
        for name, block in compared.items():
            rows[name]["significance"] = block


def stored_contents(collection: Path) -> Callable[[Sequence[str]], list[str]]:
    """Return a function that reads documents' texts from a collection, opened at each call; empty for unknown ids."""

    def contents(doc_ids: Sequence[str]) -> list[str]:
        with DocumentStore.open(collection / "documents.sqlite") as store:
            there = [doc_id for doc_id in doc_ids if doc_id in store]
            found = dict(zip(there, store.contents(there), strict=True))
        return [found.get(doc_id, "") for doc_id in doc_ids]

    return contents


def corpus_contents(corpus: Iterable[Document]) -> Callable[[Sequence[str]], list[str]]:
    """Return a function that reads documents' texts from a corpus, for external runs without an index."""

    def contents(doc_ids: Sequence[str]) -> list[str]:
        wanted = set(doc_ids)
        found = {document.doc_id: document.contents for document in corpus if document.doc_id in wanted}
        return [found.get(doc_id, "") for doc_id in doc_ids]

    return contents
