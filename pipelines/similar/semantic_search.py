"""The nearest vectors of a corpus in memory, exactly."""

from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from indexing.errors import InputError
from indexing.inputs import whole_number
from pipelines.exact_search.nearest import best
from retrieve.encoders.given_vectors import check_vectors
from retrieve.encoders.similarity import Similarity, check_similarities


class Found(TypedDict):
    """A vector of the corpus and its score."""

    corpus_id: int
    score: float


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: Similarity | Callable[[Any, Any], Any] = "cosine",
) -> list[list[Found]]:
    """Return the nearest vectors of the corpus for each query, best first.

    It answers as ``sentence_transformers.util.semantic_search``; equal scores are ordered by position. For a corpus
    that stays, build a collection: it is on disk, takes updates and filters, and other legs beside it.

    Parameters
    ----------
    query_embeddings, corpus_embeddings
        Vectors [rows, width], both dense or both sparse (arrays, tensors or ``scipy.sparse`` matrices).
    query_chunk_size, corpus_chunk_size
        Accepted for compatibility and unused: blocks are planned by memory, at most 128 MB of scores.
    top_k
        Number of vectors for each query.
    score_function
        Name of a similarity ("cosine", "dot", "euclidean", "manhattan"; distances are negative), or a function of
        query and corpus tensors that returns all scores [queries, corpus].

    Returns
    -------
    list
        For each query a list of ``{"corpus_id": position, "score": number}``.

    Raises
    ------
    InputError
        For vectors that do not fit each other or contain a NaN, an unknown similarity, or a wrong `top_k`.
    """
    top_k = whole_number(top_k, "top_k")
    queries = check_vectors(query_embeddings, "query_embeddings")
    corpus = check_vectors(corpus_embeddings, "corpus_embeddings")
    if not corpus.shape[0] or not queries.shape[0]:
        return [[] for _ in range(queries.shape[0])]
    if queries.shape[1] != corpus.shape[1]:
        raise InputError(
            f"query_embeddings have {queries.shape[1]} dimensions and corpus_embeddings {corpus.shape[1]}: "
            "encode both with one model"
        )
    if type(queries) is not type(corpus):
        raise InputError("query_embeddings and corpus_embeddings must both be dense or both be sparse")
    score = score_function if callable(score_function) else check_similarities([score_function])[0]
    places, scores = best(score, queries, corpus, np.arange(corpus.shape[0]), top_k)
    return [
        [{"corpus_id": place, "score": value} for place, value in zip(row, values, strict=True)]
        for row, values in zip(places.tolist(), scores.tolist(), strict=True)
    ]
