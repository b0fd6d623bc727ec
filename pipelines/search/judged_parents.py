"""Hits of chunks judged by their documents: each document once, at its best chunk."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.collection.store import DocumentStore
from indexing.corpora.chunked import assemble, is_chunk, siblings
from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hits, LegColumns, StringArray, encode_strings

CHUNKS = 100
"""Minimum number of chunks to search for when documents are judged, as `search_parents` does."""


class Parents:
    """The parent of each chunk among some hits.

    Parameters
    ----------
    of
        The parent's id by the chunk's id; a document that is no chunk is missing and its own parent.
    """

    def __init__(self, of: Mapping[str, str]) -> None:
        self.of = of
        self._coded: tuple[StringArray, StringArray, NDArray[np.int64]] | None = None

    @classmethod
    def in_hits(cls, store: DocumentStore, answers: Iterable[Hits]) -> "Parents":
        """Read the parents of all documents in these hits from the store of their collection."""
        return cls(store.parents(sorted({doc_id for hits in answers for doc_id in hits.ids[np.unique(hits.codes)]})))

    def judge(self, hits: Hits, k: int | None = None) -> Hits:
        """Return the best `k` documents of these chunks, each with the score of its best chunk."""
        # Tuning judges one table of ids a thousand times.
        if self._coded is None or self._coded[0] is not hits.ids:
            self._coded = hits.ids, *encode_strings([self.of.get(doc_id, doc_id) for doc_id in hits.ids])
        _, ids, code_of = self._coded
        rows, codes = hits.rows, code_of[hits.codes]
        # Hits are ordered, so a document's first chunk is its best.
        first = np.zeros(len(codes), np.bool_)
        first[np.unique(rows * len(ids) + codes, return_index=True)[1]] = True
        legs = {name: LegColumns(leg.ranks[first], leg.scores[first]) for name, leg in hits.legs.items()}
        return Hits.ranked(len(hits), rows[first], codes[first], hits.scores[first], ids, k, legs)


def judges_parents(store: DocumentStore, qrels: Mapping[str, Mapping[str, int]], where: object) -> bool:
    """Return whether the judged documents are parents of a collection's chunks.

    Parameters
    ----------
    store
        The collection's documents.
    qrels
        ``{query_id: {doc_id: grade}}``.
    where
        The collection, named in errors.

    Raises
    ------
    InputError
        When none of the judged documents is in the collection, neither stored nor as the parent of chunks.
    """
    judged = list(dict.fromkeys(doc_id for grades in qrels.values() for doc_id in grades))
    stored, chunked = store.alive(judged), known_parents(store, judged)
    if judged and not stored and not chunked:
        example = next(store.ids(), None)
        raise InputError(
            f"none of the {len(judged):,} judged documents ({judged[0]!r}, for one) is in {where}, whose ids are like "
            f"{example!r}: pass the judgements of this corpus, or index the corpus that they judge"
        )
    return len(chunked) > len(stored)


def known_parents(store: DocumentStore, ids: Sequence[str]) -> set[str]:
    """Return those of these ids that are parents of chunks in the store."""
    first = {f"{doc_id}#0": doc_id for doc_id in ids}
    return {first[chunk] for chunk, parent in store.parents(list(first)).items() if parent == first[chunk]}


def with_chunks(store: DocumentStore, ids: Sequence[str]) -> list[str]:
    """Return ids, with the ids of its chunks in place of a document that is stored in chunks only."""
    stored = store.alive(list(ids))
    parents = known_parents(store, [doc_id for doc_id in ids if doc_id not in stored])
    found: list[str] = []
    for doc_id in ids:
        if doc_id in parents:
            chunks = siblings(store.get([f"{doc_id}#0"])[0].metadata)
            alive = store.alive(chunks)
            found += [chunk for chunk in chunks if chunk in alive]
        else:
            found.append(doc_id)
    return found


def parent_contents(store: DocumentStore, doc_id: str) -> str:
    """Return the title and the text of a document that is stored, or reassembled from its chunks; else an empty text.

    Deleted documents count as missing.
    """
    found = stored_document(store, doc_id)
    return "" if found is None else found.contents


def stored_document(
    store: DocumentStore, doc_id: str, sees: Callable[[Document], bool] = lambda document: True
) -> Document | None:
    """Return a document that is stored, or reassembled from its chunks; None when there is none with this id.

    Parameters
    ----------
    sees
        Whether the caller may see a document; of a document in chunks every chunk must be accepted.
    """
    parts: list[Document] = store.get([doc_id]) if store.alive([doc_id]) else _chunks(store, doc_id)
    if not parts or not all(sees(part) for part in parts):
        return None
    return parts[0] if parts[0].doc_id == doc_id else assemble(parts)


def _chunks(store: DocumentStore, doc_id: str) -> list[Document]:
    """Return all chunks of a document in order; none if one is missing, as while the document is being replaced."""
    first = f"{doc_id}#0"
    if not store.alive([first]):
        return []
    (chunk,) = store.get([first])
    ids = siblings(chunk.metadata) if is_chunk(chunk.metadata) else []
    return store.get(ids) if first in ids and len(store.alive(ids)) == len(ids) else []
