"""Relevant documents of a collection of chunks: of each judged document the chunk that fits the query best."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from indexing.collection.store import DocumentStore
from indexing.corpora.chunked import siblings
from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.mining.relevant_documents import Positive, positives_of
from pipelines.search.judged_parents import judges_parents, known_parents

logger = logging.getLogger(__name__)


def judged_positives(
    texts: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    store: DocumentStore,
    leg: Any,
    where: object,
) -> dict[str, list[Positive]]:
    """Return the positives of qrels: the documents themselves, or a chunk of each if the collection stores chunks.

    The chunk is the one with the best score of a leg. The document's other chunks are no negatives either.

    Parameters
    ----------
    texts, qrels
        The queries, and their judgements.
    store
        The collection's documents.
    leg
        A retriever of the collection that can score given documents.
    where
        The collection, named in errors.

    Raises
    ------
    InputError
        When none of the relevant documents is in the collection.
    """
    asked = {query_id: grades for query_id, grades in qrels.items() if query_id in texts}
    of_parents = judges_parents(store, asked, where)
    right = {query_id: [doc_id for doc_id, grade in grades.items() if grade > 0] for query_id, grades in asked.items()}
    wanted = sorted({doc_id for ids in right.values() for doc_id in ids})
    chunked = known_parents(store, wanted) if of_parents else set()
    right = _stored(right, wanted, chunked | set(store.alive(wanted)), where)
    if not of_parents:
        return positives_of({query_id: dict.fromkeys(ids, 1) for query_id, ids in right.items()}, store)
    wanted = sorted({doc_id for ids in right.values() for doc_id in ids})
    first = store.get([f"{doc_id}#0" if doc_id in chunked else doc_id for doc_id in wanted])
    chunks = {
        doc_id: siblings(document.metadata) if doc_id in chunked else [doc_id]
        for doc_id, document in zip(wanted, first, strict=True)
    }
    return {
        query_id: _best(texts[query_id], [chunks[doc_id] for doc_id in ids], store, leg)
        for query_id, ids in right.items()
    }


def _stored(
    right: Mapping[str, Sequence[str]], wanted: Sequence[str], known: set[str], where: object
) -> dict[str, list[str]]:
    """Return the relevant documents that are in the collection; warn of others, which may have been deleted."""
    missing = [doc_id for doc_id in wanted if doc_id not in known]
    if wanted and len(missing) == len(wanted):
        raise InputError(
            f"none of the relevant documents is in {where}, {missing[0]!r} for one: is it their collection?"
        )
    if missing:
        logger.warning(
            "%s not in %s and left out: %s", counted(len(missing), "relevant document"), where, ", ".join(missing[:5])
        )
    return {query_id: [doc_id for doc_id in ids if doc_id in known] for query_id, ids in right.items()}


def _best(query: str, documents: Sequence[Sequence[str]], store: DocumentStore, leg: Any) -> list[Positive]:
    """Return the best chunk of each document, with the others as its copies."""
    ids = [chunk for chunks in documents for chunk in chunks]
    if not ids:
        return []
    scores = np.asarray(leg.score(leg.encode([query]), [ids]), np.float64)
    texts = dict(zip(ids, store.contents(ids), strict=True))
    positives, start = [], 0
    for chunks in documents:
        best = chunks[int(np.nan_to_num(scores[start : start + len(chunks)], nan=-np.inf).argmax())]
        positives.append(Positive(texts[best], best, tuple(chunk for chunk in chunks if chunk != best)))
        start += len(chunks)
    return positives
