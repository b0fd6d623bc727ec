"""Scores of late interaction: MaxSim and its relatives, as pure functions over token vectors.

Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
2020; Lee et al., "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval", 2023 (XTR).
"""

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import require_positive
from indexing.token_vectors import TokenVectors

EMPTY_SCORE = -1e9
"""MaxSim with a document without vectors, below every other document, as in sentence-transformers."""
BLOCK_ELEMENTS = 4_000_000
"""Largest number of similarities, or of document values in float32, that are held at a time: 16 MB."""

SMALL_PRODUCTS = 200_000_000
"""Multiplications of a search's few candidates: the largest product that one thread computes."""
ONE_THREAD_PRODUCTS = 4 * 65536
"""Largest number of multiplications for which OpenBLAS uses one thread."""
ONE_THREAD_VALUES = 32_000
"""Largest number of values that torch converts on one thread."""


def max_sim(
    queries: TokenVectors, documents: TokenVectors, *, mean: bool = False, block_elements: int = BLOCK_ELEMENTS
) -> NDArray[np.float32]:
    """Return MaxSim of every query with every document: ``score(q, d) = sum_i max_j (q_i . d_j)``.

    Parameters
    ----------
    queries, documents
        Token vectors of equal dimension, in float32 or float16; similarities are computed in float32.
    mean
        Divide by the number of the query's vectors.
    block_elements
        Largest number of similarities held at a time; one query with one document may exceed it.

    Returns
    -------
    float32 [queries, documents]
        `EMPTY_SCORE` (divided as the others) for a document without vectors; 0 for a query without any.
    """
    scores = np.zeros((queries.texts, documents.texts), np.float32)
    for rows in token_blocks(queries.offsets, max(1, block_elements // max(64, queries.dimension))):
        part = queries.slice(*rows)
        width = max(len(part.vectors), part.dimension)
        for columns in token_blocks(documents.offsets, max(1, block_elements // max(width, 1))):
            best = token_maxima(part.vectors, documents.slice(*columns))
            scores[slice(*rows), slice(*columns)] = query_sums(best, part.offsets)
    scores[:, documents.lengths == 0] = EMPTY_SCORE
    return _divided(scores, queries.lengths[:, None]) if mean else scores


def max_sim_pairwise(queries: TokenVectors, documents: TokenVectors, *, mean: bool = False) -> NDArray[np.float32]:
    """Return MaxSim of query ``i`` with document ``i``, float32 [pairs]; see `max_sim`.

    Raises
    ------
    InputError
        If there are not as many queries as documents.
    """
    if queries.texts != documents.texts:
        raise InputError(f"pairs need as many queries as documents, not {queries.texts} and {documents.texts}")
    scores = np.zeros(queries.texts, np.float32)
    for pair in range(queries.texts):
        scores[pair] = token_maxima(queries.text(pair), documents.slice(pair, pair + 1)).sum()
    scores[documents.lengths == 0] = EMPTY_SCORE
    return _divided(scores, queries.lengths) if mean else scores


def max_sim_of(query: NDArray[np.floating], documents: TokenVectors) -> NDArray[np.float32]:
    """Return MaxSim of one query, [tokens, dim], with each document, float32 [documents]; see `max_sim`."""
    return max_sim(TokenVectors(np.array([0, len(query)]), query), documents)[0]


def xtr_scores(queries: TokenVectors, documents: TokenVectors, *, top_k: int = 256) -> NDArray[np.float32]:
    """Return XTR's scores, which count only the similarities that a retrieval of tokens would return.

    Each query vector retrieves the `top_k` most similar of all documents' vectors together. A document's score is the
    sum, over the query vectors that retrieved one of its vectors, of the largest retrieved similarity, divided by the
    number of these query vectors. A document of which nothing is retrieved scores 0. A score depends on the other
    documents, so it serves training and analysis.

    Parameters
    ----------
    queries, documents
        Token vectors of equal dimension.
    top_k
        Number of vectors that a query vector retrieves.

    Returns
    -------
    float32 [queries, documents]
        `EMPTY_SCORE` for a document without vectors.
    """
    require_positive(top_k=top_k)
    scores = np.zeros((queries.texts, documents.texts), np.float32)
    owners = np.repeat(np.arange(documents.texts), documents.lengths)
    vectors = documents.vectors.astype(np.float32, copy=False)
    for row in range(queries.texts):
        similarity = queries.text(row).astype(np.float32, copy=False) @ vectors.T
        retrieved = min(top_k, similarity.shape[1])
        if not similarity.size:
            continue
        top = np.argpartition(-similarity, retrieved - 1, axis=1)[:, :retrieved]
        best = np.full((len(similarity), documents.texts), -np.inf, np.float32)
        np.maximum.at(best, (np.arange(len(top))[:, None], owners[top]), np.take_along_axis(similarity, top, axis=1))
        found = best > -np.inf
        scores[row] = np.where(found, best, 0).sum(axis=0) / np.maximum(found.sum(axis=0), 1)
    scores[:, documents.lengths == 0] = EMPTY_SCORE
    return scores


def token_maxima(query: NDArray[np.floating], documents: TokenVectors) -> NDArray[np.float32]:
    """Return, for each document and each query vector, the similarity of the document's most similar vector.

    Parameters
    ----------
    query
        Query vectors of any number of queries, [tokens, dim].
    documents
        Few enough that all similarities fit in memory.

    Returns
    -------
    float32 [documents, tokens]
        0 for a document without vectors.
    """
    best = np.zeros((documents.texts, len(query)), np.float32)
    filled = documents.lengths > 0
    if filled.any() and len(query):
        # Documents as rows: this product, and maxima over adjacent rows, are faster than those of the transpose.
        similarity = _products(documents.vectors, query.astype(np.float32, copy=False).T)
        best[filled] = np.maximum.reduceat(similarity, documents.offsets[:-1][filled], axis=0)
    return best


def _products(vectors: NDArray[np.floating], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``vectors @ columns`` in float32.

    A small product is computed in parts that BLAS and torch leave to one thread, which also stay in the cache: where
    other work occupies the cores, the wait for a second thread takes many times as long as the product.
    """
    size = columns.size
    if not size or len(vectors) * size > SMALL_PRODUCTS:
        result: NDArray[np.float32] = widened(vectors) @ columns
        return result
    columns = np.ascontiguousarray(columns)
    products = np.empty((len(vectors), columns.shape[1]), np.float32)
    step = max(1, min(ONE_THREAD_PRODUCTS // size, ONE_THREAD_VALUES // vectors.shape[1]))
    for start in range(0, len(vectors), step):
        np.matmul(widened(vectors[start : start + step]), columns, out=products[start : start + step])
    return products


def widened(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return vectors in float32.

    Where torch is loaded it converts float16, which takes an eighth of NumPy's time.
    """
    torch = sys.modules.get("torch")
    if torch is None or vectors.dtype != np.float16 or not (vectors.flags.writeable and vectors.flags.c_contiguous):
        return vectors.astype(np.float32, copy=False)
    result: NDArray[np.float32] = torch.from_numpy(vectors).float().numpy()
    return result


def query_sums(best: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sum the maxima [documents, query vectors] of each query, float32 [queries, documents]."""
    sums = np.zeros((len(offsets) - 1, len(best)), np.float32)
    filled = np.diff(offsets) > 0
    if filled.any():
        sums[filled] = np.add.reduceat(best, offsets[:-1][filled], axis=1).T
    return sums


def _divided(scores: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.divide(scores, np.maximum(lengths, 1), dtype=np.float32)


def token_blocks(offsets: NDArray[np.int64], tokens: int, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts with at most this many tokens, or of one text; of at most `most` texts."""
    start, texts = 0, len(offsets) - 1
    while start < texts:
        stop = int(np.searchsorted(offsets, offsets[start] + tokens, side="right")) - 1
        stop = min(max(stop, start + 1), texts, start + (most or texts))
        yield start, stop
        start = stop
