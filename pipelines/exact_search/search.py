"""Exact search of dense vectors by dot product: screening in bfloat16, scoring in float32.

Where the processor multiplies bfloat16 faster than float32, the full product is computed in bfloat16 only. The error of
such a score is bounded by the lengths of the vectors and of their rounding errors (Cauchy-Schwarz). So the documents
that could be among the best are known for certain, and only those are scored in float32.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.exact_search.top_k import GROUP, first, grouped, room_for_scores
from retrieve.encoders.kernels.precision import has_fast_bfloat16

Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Positions of documents and their scores, [queries, k]."""

ENOUGH_QUERIES, ENOUGH_DOCUMENTS = 256, 4096
"""Smallest numbers of queries and documents for which a bfloat16 copy of the corpus pays."""
ROUNDING = 2.0**-8
"""Largest relative rounding error of bfloat16."""
DOCUMENTS_AT_ONCE = 4096
"""Number of documents that are rounded together."""
PAIRS_AT_ONCE = 256
"""Number of (query, document) pairs that are scored together: they fit the processor's cache."""
PAIRS_OF_A_TASK = 4096
"""Number of pairs in one task of a thread."""


class ExactSearch:
    """Exact search for the documents with the highest dot product with each query.

    Parameters
    ----------
    corpus
        float32 [documents, width].
    rows
        Number of queries whose scores, float32 [rows, documents], are in memory together.
    queries
        Total number of queries to expect.
    screen
        Whether to screen in bfloat16 (where that is faster).
    """

    def __init__(self, corpus: NDArray[np.float32], rows: int, queries: int, *, screen: bool | None = None) -> None:
        self._documents = torch.from_numpy(np.ascontiguousarray(corpus, dtype=np.float32))
        self._room = room_for_scores(rows, len(corpus))
        if screen is None:
            many = queries >= ENOUGH_QUERIES and len(corpus) >= ENOUGH_DOCUMENTS
            screen = many and has_fast_bfloat16(torch.device("cpu"))
        self._screen = _Screen(self._documents) if screen else None

    def __call__(self, queries: NDArray[np.float32], k: int, ranks: NDArray[np.int64]) -> Found:
        """Return the positions and scores of the `k` best documents of each query, both [queries, k], best first.

        Parameters
        ----------
        queries
            float32 [queries, width].
        k
            Number of documents, at most the size of the corpus.
        ranks
            Rank of each document; among equal scores lower ranks come first, also at the cutoff.
        """
        asked = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32))
        places = np.empty((len(asked), k), dtype=np.int64)
        scores = np.empty((len(asked), k), dtype=np.float32)
        low = 0
        while low < len(asked):
            if self._screen is None or guesses_for(k) > len(self._documents) // GROUP:
                high = low + len(self._room)
                found = self._scored(asked[low:high], k, ranks)
            else:  # Scores in bfloat16 take half the memory.
                high = low + 2 * len(self._room)
                found = self._screened(self._screen, asked[low:high], k, ranks)
            places[low:high], scores[low:high] = found
            low = high
        return places, scores

    def _screened(self, screen: "_Screen", asked: torch.Tensor, k: int, ranks: NDArray[np.int64]) -> Found:
        rounded = self._room.view(-1).view(torch.bfloat16)[: len(asked) * len(self._documents)]
        columns, scores, certain = screen(asked, k, rounded.view(len(asked), -1))
        at, values = first(scores, k, ranks[columns])
        places = np.take_along_axis(columns, at, axis=1)
        doubtful = np.flatnonzero(~certain)
        for low in range(0, len(doubtful), len(self._room)):
            some = doubtful[low : low + len(self._room)]
            places[some], values[some] = self._scored(asked[some], k, ranks)
        if 2 * len(doubtful) > len(asked):
            self._screen = None  # Lengths differ too much, or too many vectors are similar: screening does not pay.
        return places, values

    def _scored(self, asked: torch.Tensor, k: int, ranks: NDArray[np.int64]) -> Found:
        return first(torch.mm(asked, self._documents.T, out=self._room[: len(asked)]), k, ranks)


class _Screen:
    """Copy of the corpus in bfloat16, with bounds of its rounding errors."""

    def __init__(self, documents: torch.Tensor) -> None:
        self._documents = documents
        self._rounded = room_for_scores(len(documents), documents.shape[1], torch.bfloat16)
        measured = []
        for low in range(0, len(documents), DOCUMENTS_AT_ONCE):
            high = low + DOCUMENTS_AT_ONCE
            measured.append(_round(documents[low:high], self._rounded[low:high]))
        self._longest, self._lost = (float(torch.cat(parts).max()) for parts in zip(*measured, strict=True))

    def __call__(
        self, asked: torch.Tensor, k: int, room: torch.Tensor
    ) -> tuple[NDArray[np.int64], torch.Tensor, NDArray[np.bool_]]:
        """Return candidates for the `k` best documents of each query and their scores, both [queries, candidates].

        Padding has the score -inf. The third value marks the queries whose candidates are complete.
        """
        rounded = torch.empty_like(asked, dtype=torch.bfloat16)
        lengths, losses = _round(asked, rounded)
        maxima, columns, guesses = grouped(torch.mm(rounded, self._rounded.T, out=room), guesses_for(k))
        summing = (asked.shape[1] + 8) * 2.0**-22
        # Largest difference of a bfloat16 product, before its own rounding, from the float32 product.
        apart = losses * self._longest + (lengths + losses) * self._lost + lengths * self._longest * summing
        # At least k groups reach this score, so the k-th best does too; any document that does has at least this guess.
        floor = _less(_less(maxima[:, k - 1].double()) - 2 * apart)
        certain = maxima[:, -1] < floor
        rows, at = (guesses >= floor[:, None]).nonzero(as_tuple=True)
        found = torch.bincount(rows, minlength=len(asked))
        beside = torch.arange(len(rows)) - (found.cumsum(0) - found)[rows]
        shape = (len(asked), max(k, int(found.max())))
        scores, places = torch.full(shape, -torch.inf), torch.zeros(shape, dtype=torch.long)
        places[rows, beside] = columns[rows, at]
        scores[rows, beside] = torch.from_numpy(
            _dots(asked.numpy(), self._documents.numpy(), rows.numpy(), columns[rows, at].numpy())
        )
        return places.numpy(), scores, certain.numpy()


def guesses_for(k: int) -> int:
    """Return the number of document groups to inspect: those of the `k` best, and a margin for rounding."""
    return 2 * k + 32


def _round(vectors: torch.Tensor, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round vectors to bfloat16 into `out`; return their lengths and those of the rounding errors, float64."""
    out.copy_(vectors)
    lost = out.float().sub_(vectors)
    return torch.linalg.vector_norm(vectors, dim=1).double(), torch.linalg.vector_norm(lost, dim=1).double()


def _less(scores: torch.Tensor) -> torch.Tensor:
    return scores - 1.01 * ROUNDING * scores.abs()


def _dots(
    left: NDArray[np.float32], right: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the dot products of left[rows[i]] and right[columns[i]], each summed in the same order.

    It uses its own threads: torch's wait for each other after every few pairs, which takes many times as long when
    another process occupies a core.
    """
    found = np.empty(len(rows), dtype=np.float32)

    def score(start: int) -> None:
        room = np.empty((2, PAIRS_AT_ONCE, left.shape[1]), dtype=np.float32)
        for low in range(start, min(start + PAIRS_OF_A_TASK, len(rows)), PAIRS_AT_ONCE):
            some = slice(low, min(low + PAIRS_AT_ONCE, start + PAIRS_OF_A_TASK, len(rows)))
            one, other = room[:, : some.stop - low]
            np.take(left, rows[some], axis=0, out=one, mode="clip")  # Other modes copy first.
            np.take(right, columns[some], axis=0, out=other, mode="clip")
            np.einsum("nd,nd->n", one, other, out=found[some])

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(score, range(0, len(rows), PAIRS_OF_A_TASK)))
    return found
