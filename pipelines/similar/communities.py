"""Communities: groups of vectors that are all near to a central one."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from indexing.inputs import number, whole_number
from indexing.progress import progress
from pipelines.exact_search.top_k import room_for_scores
from retrieve.encoders.given_vectors import check_vectors
from retrieve.encoders.similarity import dense_rows, unit

PAIRS_KEPT = 1 << 24
"""Number of near pairs that are stored, at 12 bytes each; if there are more, rows are compared a second time."""
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 256, 2048
"""Most rows and columns that are compared together: 2 MB of scores; larger products are no faster."""
COMPARED_AGAIN = 64
"""Number of centres that are compared a second time together."""

Pairs: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def community_detection(
    embeddings: Any,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Return groups of vectors whose cosine with a central vector reaches a threshold, the largest group first.

    The algorithm and its results are those of ``sentence_transformers.util.community_detection``: every vector with
    enough near ones is a centre; centres with most near ones come first; each takes those that no earlier centre took,
    and is left out if too few remain or it was taken itself. Each pair is compared once, by symmetry.

    Parameters
    ----------
    embeddings
        Vectors [rows, width] (array, tensor or ``scipy.sparse`` matrix, which is compared densely in blocks).
    threshold
        Smallest cosine with the central vector.
    min_community_size
        Smallest size of a group.
    batch_size
        Most rows that are compared together; above 256 it has no effect.
    show_progress_bar
        Show a progress bar.

    Returns
    -------
    list
        For each group the positions of its vectors: the centre, then the others by falling similarity.

    Raises
    ------
    InputError
        For vectors with a NaN, a threshold that is no number, or sizes below 1.
    """
    vectors, threshold = unit(check_vectors(embeddings, "embeddings")), number(threshold, "threshold")
    least, rows = whole_number(min_community_size, "min_community_size"), whole_number(batch_size, "batch_size")
    if vectors.shape[0] < least:
        return []
    near = _Near(vectors, threshold, min(rows, ROWS_AT_ONCE), show_progress_bar)
    centres = np.flatnonzero(near.counts >= least)
    centres = centres[np.argsort(-near.counts[centres], kind="stable")]
    used = np.zeros(vectors.shape[0], dtype=bool)
    communities = []
    for centre, near_ones in near.of(centres, used):
        members = near_ones[~used[near_ones]]
        if len(members) >= least:
            community = [centre, *members[members != centre].tolist()]
            used[community] = True
            communities.append(community)
    return sorted(communities, key=len, reverse=True)


class _Near:
    """The rows near to each row: their numbers, and themselves on request."""

    def __init__(self, vectors: Any, threshold: float, rows: int, show_progress: bool) -> None:
        self._vectors, self._threshold, self._rows = vectors, np.float32(threshold), rows
        count = vectors.shape[0]
        self._room = room_for_scores(min(rows, count), min(COLUMNS_AT_ONCE, count)).view(-1)
        self.counts = np.zeros(count, dtype=np.int64)
        parts: list[Pairs] | None = []
        kept = 0
        with progress(desc="compare", total=count, unit="vector", disable=not show_progress) as bar:
            for low in range(0, count, rows):
                for one, other, scores in self._pairs(low):
                    self.counts += np.bincount(one, minlength=count)
                    apart = one != other
                    self.counts += np.bincount(other[apart], minlength=count)
                    kept += len(one)
                    if parts is not None:
                        parts.append((one, other, scores))
                    if kept > PAIRS_KEPT:
                        parts = None
                bar.update(min(rows, count - low))
        self._graph = None if parts is None else _graph(parts, count)

    def _pairs(self, low: int) -> Iterator[Pairs]:
        """Yield the near pairs of a block of rows with themselves and with all later rows."""
        block = torch.from_numpy(dense_rows(self._vectors[low : low + self._rows]))
        for start in range(low, self._vectors.shape[0], COLUMNS_AT_ONCE):
            others = torch.from_numpy(dense_rows(self._vectors[start : start + COLUMNS_AT_ONCE]))
            room = self._room[: len(block) * len(others)].view(len(block), len(others))
            scores = torch.mm(block, others.T, out=room).numpy()
            near = scores >= self._threshold
            found = np.flatnonzero(np.triu(near) if start == low else near)  # Quicker than the places of both axes.
            one, other = np.divmod(found, len(others))
            yield (one + low).astype(np.int32), (other + start).astype(np.int32), scores.ravel()[found]

    def of(self, centres: NDArray[np.int64], used: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each centre that is not in use by then, and its near rows by falling similarity."""
        if self._graph is not None:
            for centre in centres.tolist():
                if not used[centre]:
                    row = slice(self._graph.indptr[centre], self._graph.indptr[centre + 1])
                    order = np.argsort(-self._graph.data[row], kind="stable")
                    yield centre, self._graph.indices[row][order].astype(np.int64)
            return
        while len(centres := centres[~used[centres]]):
            block, centres = centres[:COMPARED_AGAIN], centres[COMPARED_AGAIN:]
            scores = np.concatenate(
                [
                    dense_rows(self._vectors[block]) @ dense_rows(self._vectors[low : low + self._rows]).T
                    for low in range(0, len(used), self._rows)
                ],
                axis=1,
            )
            for centre, row in zip(block.tolist(), scores, strict=True):
                if not used[centre]:
                    members = np.flatnonzero(row >= self._threshold)
                    yield centre, members[np.argsort(-row[members], kind="stable")]


def _graph(parts: list[Pairs], count: int) -> csr_matrix:
    """Return the near rows of each row, with their similarities."""
    one, other, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    apart = one != other
    rows, columns = np.concatenate((one, other[apart])), np.concatenate((other, one[apart]))
    return csr_matrix((np.concatenate((scores, scores[apart])), (rows, columns)), shape=(count, count))
