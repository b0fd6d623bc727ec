"""The truth about a collection: every state that it was in, as plain dictionaries, searched by brute force."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from crash.cheap import CheapTokens, CheapVectors, CheapWeights

from indexing.documents import Document

State = Mapping[str, Document]


@dataclass
class Generation:
    """One life of the collection, from a build until it is overwritten.

    Parameters
    ----------
    number
        Counts the builds; every document carries it in its metadata.
    states
        State after each write, the first of them that of the build.
    base
        Sequence number of the first state; None until somebody has seen it, as a build may be resumed.
    config
        Content of ``search.yaml``.
    """

    number: int
    states: list[State]
    base: int | None = None
    configs: list[Mapping[str, Any]] = field(default_factory=lambda: [{}])

    def at(self, sequence: int) -> State:
        assert self.base is not None
        assert self.base <= sequence < self.base + len(self.states), (sequence, self.base, len(self.states))
        return self.states[sequence - self.base]

    @property
    def last(self) -> State:
        return self.states[-1]

    @property
    def last_sequence(self) -> int:
        assert self.base is not None
        return self.base + len(self.states) - 1

    def buried(self, doc_id: str, sequence: int) -> Document:
        """Return a document as it is shown: of this state, or the last one before that still had it."""
        assert self.base is not None
        for number in range(sequence - self.base, -1, -1):
            if doc_id in self.states[number]:
                return self.states[number][doc_id]
        raise AssertionError(f"{doc_id} was never written")


def matches(document: Document, filter: Mapping[str, Any] | None) -> bool:
    """Evaluate a filter of the forms that the tests use."""
    for name, wanted in (filter or {}).items():
        if name == "not":
            if matches(document, wanted):
                return False
        elif name == "or":
            if not any(matches(document, part) for part in wanted):
                return False
        else:
            value = document.metadata.get(name)
            if isinstance(wanted, list):
                fits = value in wanted
            elif isinstance(wanted, Mapping):
                low, high = wanted.get("gte", -np.inf), wanted.get("lt", np.inf)
                fits = value is not None and low <= value < high
            else:
                fits = value == wanted
            if not fits:
                return False
    return True


def scores(kind: str, documents: Iterable[Document], query: str) -> dict[str, float]:
    """Return the score of each document that a leg can find; for words only which ones, as 1."""
    found = list(documents)
    if not found:
        return {}
    ids, texts = [document.doc_id for document in found], [document.contents for document in found]
    if kind in ("bm25", "sparse"):
        words = set(query.split())
        matching = [(doc_id, words & set(text.split())) for doc_id, text in zip(ids, texts, strict=True)]
        if kind == "bm25":
            return {doc_id: 1.0 for doc_id, common in matching if common}
        rows = CheapWeights().encode_document([query, *texts]).multiply(100).rint()
        products = (rows[1:] @ rows[0].T).toarray()[:, 0]
        return {doc_id: float(score) for doc_id, score in zip(ids, products, strict=True) if score}
    if kind == "tokens":
        asked = CheapTokens().encode_query([query]).text(0)
        vectors = CheapTokens().encode_document(texts)
        return {doc_id: float((asked @ vectors.text(at).T).max(axis=1).sum()) for at, doc_id in enumerate(ids)}
    products = unit(CheapVectors().encode_document(texts)) @ unit(CheapVectors().encode_document([query]))[0]
    return {doc_id: float(score) for doc_id, score in zip(ids, products, strict=True)}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
