"""Compare the points of a deployed collection with the collection that they came from, document by document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexing.collection.snapshot import Snapshot
from indexing.deployment.layout import Layout
from indexing.deployment.sending import Sender
from indexing.documents import Document
from indexing.indexes.qdrant.engine import Point, QdrantEngine, Sparse, point_id, scroll_all
from indexing.indexes.qdrant.settings import DOC_ID
from indexing.indexes.qdrant.text_index import Text
from indexing.plurals import counted

_AT_ONCE = 500
CLOSE = 1e-5
"""Largest difference of a stored number from the one that was sent, relative to the largest of its vector."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that differs.

    Parameters
    ----------
    doc_id
        The document; "" for a number of documents.
    what
        ``absent``, ``extra``, ``count``, ``payload``, or the name of a leg.
    message
        What differs.
    """

    doc_id: str
    what: str
    message: str

    def __str__(self) -> str:
        return self.message


def compare_points(
    snapshot: Snapshot, engine: QdrantEngine, layout: Layout, *, sample: int | None = None
) -> list[Difference]:
    """Return the documents whose points are not those that would be sent now.

    Parameters
    ----------
    snapshot
        The state that was deployed.
    engine, layout
        The deployed collection.
    sample
        Number of documents to compare, evenly distributed; None for all, with a search for points of no document.
    """
    found = []
    store = snapshot.documents
    if (count := engine.count()) != len(store):
        says = f"{counted(count, 'document')} are deployed, the collection has {len(store):,}"
        found.append(Difference("", "count", says))
    sender = Sender(snapshot, layout)
    numbers = store.numbers()
    if sample is not None and len(numbers) > sample:
        numbers = numbers[np.linspace(0, len(numbers) - 1, sample).astype(np.int64)]
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        found += _compared(store.by_number(part), part, sender, engine, layout)
    if sample is None:
        found += _extra(snapshot, engine)
    return found


def _compared(
    documents: list[Document], numbers: Any, sender: Sender, engine: QdrantEngine, layout: Layout
) -> Iterator[Difference]:
    expected = {point.id: point for point in sender.batch(documents, numbers).points()}
    points = {point.id: point for point in engine.retrieve(list(expected), list(layout.legs))}
    for document in documents:
        doc_id, key = document.doc_id, point_id(document.doc_id)
        if key not in points:
            yield Difference(doc_id, "absent", f"the document {doc_id!r} is not deployed")
            continue
        if (entry := _other_payload(expected[key], points[key])) is not None:
            yield Difference(doc_id, "payload", f"the document {doc_id!r}: its {entry} differs, or is missing")
        for name in layout.legs:
            cosine = layout.schema.vectors[name].cosine
            if not _same(expected[key].vectors.get(name), points[key].vectors.get(name), cosine):
                yield Difference(doc_id, name, f"the document {doc_id!r}: its vector of the leg {name!r} differs")


def _other_payload(expected: Point, found: Point) -> str | None:
    for entry, value in expected.payload.items():
        if found.payload.get(entry) != value:
            return f"payload field {entry!r}"
    return None


def _same(expected: Any, found: Any, cosine: bool) -> bool:
    if expected is None or found is None:
        return (expected is None) == (found is None)
    if isinstance(expected, Text):
        return bool(expected == found)
    if isinstance(expected, Sparse):
        order = np.argsort(expected.indices), np.argsort(found.indices)
        if np.array(expected.indices)[order[0]].tolist() != np.array(found.indices)[order[1]].tolist():
            return False
        return _near(np.array(expected.values)[order[0]], np.array(found.values)[order[1]])
    sent, kept = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if cosine and sent.any():
        sent = sent / np.linalg.norm(sent, axis=-1, keepdims=True)
    return sent.shape == kept.shape and _near(sent, kept)


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    return not one.size or bool(np.abs(one - other).max() <= CLOSE * max(np.abs(one).max(), 1e-9))


def _extra(snapshot: Snapshot, engine: QdrantEngine) -> Iterator[Difference]:
    for points in scroll_all(engine, _AT_ONCE, [], fields=[DOC_ID]):
        ids = [point.payload.get(DOC_ID, "") for point in points]
        alive = snapshot.documents.alive(ids)
        for doc_id in ids:
            if doc_id not in alive:
                says = f"the document {doc_id!r} is deployed, and the collection does not have it"
                yield Difference(doc_id, "extra", says)
