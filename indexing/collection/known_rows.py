"""Rows that a collection already holds for equal texts, so that a document with new metadata is not encoded again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.collection.shards import Shards
from indexing.collection.store import DocumentStore
from indexing.corpora.chunked import PARENT_ID, is_chunk, siblings
from indexing.documents import Document
from indexing.errors import StorageError


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Rows of those of some documents whose texts are stored already.

    Parameters
    ----------
    documents
        The documents.
    known
        bool [documents]: the mask of those with known rows.
    rows
        For each leg the known rows, in the documents' order.
    shards
        The shards of each leg, which can stack rows.
    """

    documents: Sequence[Document]
    known: NDArray[np.bool_]
    rows: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, Shards] = field(default_factory=dict)

    @classmethod
    def none(cls, documents: Sequence[Document]) -> Self:
        """Return no rows: all texts are to be encoded."""
        return cls(documents, np.zeros(len(documents), np.bool_))

    def complete(self, leg: str, encode: Callable[[Sequence[str]], Any]) -> Any:
        """Return the rows of all documents, encoding the texts of those that are not known."""
        texts = [document.contents for document, known in zip(self.documents, self.known, strict=True) if not known]
        if not self.known.any():
            return encode(texts)
        if not texts:
            return self.rows[leg]
        order = np.argsort(np.concatenate([np.flatnonzero(self.known), np.flatnonzero(~self.known)]))
        codec = self.shards[leg].codec
        return codec.take(codec.stack([self.rows[leg], encode(texts)]), order)


def known_rows(
    store: DocumentStore, shards: Mapping[str, Shards], documents: Sequence[Document], moved: Mapping[str, str]
) -> KnownRows:
    """Find the rows that are stored for the texts of these documents.

    A text is looked up in the stored document of the same id; for a chunk, in all stored chunks of its parent, because
    a chunk's number changes when text is inserted before it, and in those of the id that `moved` has for the parent.
    Damaged rows count as unknown.
    """
    unknown = KnownRows.none(documents)
    if not shards or not documents:
        return unknown
    number_of = store.numbers_by_contents(_candidates(store, documents, moved))
    numbers = np.array([number_of.get(document.contents, -1) for document in documents], np.int64)
    known = numbers >= 0
    if not known.any():
        return unknown
    wanted, places = np.unique(numbers[known], return_inverse=True)
    try:
        rows = {name: leg.codec.take(leg.read(wanted), places) for name, leg in shards.items()}
    except StorageError:
        return unknown
    return KnownRows(documents, known, rows, shards)


def _candidates(store: DocumentStore, documents: Sequence[Document], moved: Mapping[str, str]) -> list[str]:
    """Return the ids under which the texts of these documents may be stored."""
    ids = [document.doc_id for document in documents]
    parents = {str(document.metadata[PARENT_ID]): None for document in documents if is_chunk(document.metadata)}
    first = {f"{name}#0": None for parent in parents for name in (parent, moved.get(parent, parent))}
    for chunk in store.get(sorted(store.alive(list(first)))):
        if is_chunk(chunk.metadata):
            ids += siblings(chunk.metadata)
    return list(dict.fromkeys(ids))
