"""The most similar pairs of texts in a set."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import shown, texts, whole_number
from pipelines.exact_search.nearest import Nearest
from retrieve.encoders.given_vectors import check_vectors
from retrieve.encoders.similarity import Similarity, Vectors, check_similarities

ROWS_AT_ONCE = 4096
"""Number of rows whose neighbours are in memory together."""
KEPT = 4
"""Pairs are reduced to the best as soon as there are so many times more than asked for."""

Pairs = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def paraphrase_mining(
    model: Any,
    sentences: Sequence[str],
    show_progress_bar: bool = False,
    batch_size: int = 32,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Similarity | Callable[[Any, Any], Any] = "cosine",
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """Return the most similar pairs of a list of texts, as ``sentence_transformers.util.paraphrase_mining``.

    Parameters
    ----------
    model
        Dense or sparse encoder.
    sentences
        Texts.
    show_progress_bar
        Show the progress of encoding.
    batch_size, query_chunk_size, corpus_chunk_size
        Accepted for compatibility and unused: batches are planned by tokens, blocks by memory.
    max_pairs
        Maximum number of pairs.
    top_k
        Number of neighbours of each text that are considered.
    score_function
        As for `paraphrase_mining_embeddings`.
    truncate_dim
        Number of leading dimensions of dense vectors to keep.
    prompt_name, prompt
        Prompt, by name or as text, as for ``encode``.

    Returns
    -------
    list
        ``[score, position, position]``, best first; the lower position first.

    Raises
    ------
    InputError
        For texts that are no list of strings, or a wrong number.
    """
    cut = {} if truncate_dim is None else {"truncate_dim": truncate_dim}
    checked = texts(sentences, "sentences")
    if isinstance(model, str | type) or not hasattr(model, "encode"):
        raise InputError(f"model must be an encoder, and {shown(model)} has no encode: load it first")
    whole_number(batch_size, "batch_size")
    vectors = model.encode(checked, prompt_name=prompt_name, prompt=prompt, show_progress=show_progress_bar, **cut)
    return paraphrase_mining_embeddings(vectors, max_pairs=max_pairs, top_k=top_k, score_function=score_function)


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Similarity | Callable[[Any, Any], Any] = "cosine",
) -> list[list[float | int]]:
    """Return the most similar pairs of vectors, as ``sentence_transformers.util.paraphrase_mining_embeddings``.

    Parameters
    ----------
    embeddings
        Vectors [rows, width], dense or sparse (array, tensor or ``scipy.sparse`` matrix).
    query_chunk_size, corpus_chunk_size
        Accepted for compatibility and unused: blocks are planned by memory.
    max_pairs
        Maximum number of pairs.
    top_k
        Number of neighbours of each row that are considered.
    score_function
        Name of a similarity, or a symmetric function of two sets of vectors that returns all scores.

    Returns
    -------
    list
        ``[score, row, row]``, best first; the lower row first.

    Raises
    ------
    InputError
        For vectors with a NaN, an unknown similarity, or a wrong number.
    """
    vectors = check_vectors(embeddings, "embeddings")
    score = score_function if callable(score_function) else check_similarities([score_function])[0]
    scores, low, high = similar_pairs(
        vectors,
        top_k=whole_number(top_k, "top_k"),
        max_pairs=whole_number(max_pairs, "max_pairs"),
        similarity=score,
    )
    return [list(pair) for pair in zip(scores.tolist(), low.tolist(), high.tolist(), strict=True)]


def similar_pairs(
    vectors: Vectors,
    *,
    top_k: int,
    max_pairs: int,
    similarity: Similarity | Callable[[Any, Any], Any] = "cosine",
) -> Pairs:
    """Return the most similar pairs of rows, best first: their scores, lower and higher rows.

    Parameters
    ----------
    vectors
        Vectors [rows, width], dense or sparse.
    top_k
        Number of neighbours of each row that are considered.
    max_pairs
        Maximum number of pairs. Memory grows with it, and with the vectors, not with their square.
    similarity
        Name, or a symmetric function of two sets of vectors that returns all scores.
    """
    count = vectors.shape[0]
    found: Pairs = np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
    if count < 2:
        return found
    search, ranks = Nearest(similarity, vectors, count), np.arange(count)
    parts, waiting, least = [found], 0, np.float32(-np.inf)
    for start in range(0, count, ROWS_AT_ONCE):
        places, scores = search(vectors[start : start + ROWS_AT_ONCE], top_k + 1, ranks)
        part = _neighbours(start, places, scores, top_k, least)
        parts.append(part)
        waiting += len(part[0])
        if waiting > KEPT * max_pairs:
            parts = [_best(parts, count, max_pairs)]
            waiting = len(parts[0][0])
            least = parts[0][0][-1] if waiting == max_pairs else least
    return _best(parts, count, max_pairs)


def _neighbours(
    start: int, places: NDArray[np.int64], scores: NDArray[np.float32], top_k: int, least: np.float32
) -> Pairs:
    """Return the pairs of consecutive rows with their neighbours that score above `least`."""
    rows = np.arange(start, start + len(places))[:, None]
    other = places != rows
    # Of the top_k + 1 neighbours drop the row itself, or the last where it is not among them.
    at, column = np.nonzero(other & (np.cumsum(other, axis=1) <= top_k) & (scores > least))
    mine, neighbours = at + start, places[at, column]
    return scores[at, column], np.minimum(mine, neighbours), np.maximum(mine, neighbours)


def _best(parts: Sequence[Pairs], count: int, most: int) -> Pairs:
    """Return the `most` different pairs with the highest scores; of equal scores the first found."""
    scores, low, high = (np.concatenate(column) for column in zip(*parts, strict=True))
    _, different = np.unique(low * count + high, return_index=True)
    different.sort()
    chosen = different[np.argsort(-scores[different], kind="stable")[:most]]
    return scores[chosen], low[chosen], high[chosen]
