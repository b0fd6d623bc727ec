"""Segment: the postings of consecutive documents, in files that never change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import writing
from indexing.errors import StorageError
from indexing.indexes.array_files import array_file, load_array, save_array, saving_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

PARTS = ("starts", "documents", "weights")
POSTINGS_AT_ONCE = 1 << 22
"""Postings in memory at a time while segments are joined: some 130 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The documents that contain each term, and with which weight: an inverted index of float32 weights.

    Parameters
    ----------
    number
        The number in the names of its files.
    size
        Number of documents, deleted ones included.
    starts
        int64 [columns + 1]; column ``c`` owns the postings from ``starts[c]`` to ``starts[c + 1]``.
    documents
        int32 [postings], the document of each, ascending within a column.
    weights
        float32 [postings].
    folder
        The folder of its files.
    """

    number: int
    size: int
    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    weights: NDArray[np.float32]
    folder: Path
    _checked: set[int] = field(default_factory=set, init=False, repr=False)

    @classmethod
    def write(cls, folder: Path, number: int, rows: "csr_matrix") -> Self:
        """Write canonical weights [documents, columns] as a new segment, and return it mapped from its files."""
        columns = rows.tocsc()
        with writing(f"the segment {number} of {folder}"):
            save_array(folder, number, "starts", columns.indptr.astype(np.int64))
            save_array(folder, number, "documents", columns.indices.astype(np.int32))
            save_array(folder, number, "weights", columns.data)
        return cls.load(folder, number, rows.shape[0])

    @classmethod
    def join(
        cls,
        folder: Path,
        number: int,
        segments: Sequence["Segment"],
        alive: Sequence[NDArray[np.bool_]] | None = None,
    ) -> Self:
        """Write documents of segments to one new segment, a block of columns at a time.

        Parameters
        ----------
        folder, number
            Place and number of the new segment.
        segments
            At least one.
        alive
            bool [documents] for each segment, which to keep; None for all.
        """
        masks = alive or [np.ones(segment.size, np.bool_) for segment in segments]
        numbers, size = [], 0
        for mask in masks:
            numbers.append(np.where(mask, size + np.cumsum(mask) - 1, -1).astype(np.int32))
            size += int(mask.sum())
        counts = np.zeros(len(segments[0].starts) - 1, np.int64)
        for first, stop in _blocks(segments):
            owners, _, _ = _joined(segments, numbers, first, stop)
            counts[first:stop] = np.bincount(owners, minlength=stop - first)
        starts = np.concatenate(([0], np.cumsum(counts)))
        with writing(f"the segment {number} of {folder}"):
            save_array(folder, number, "starts", starts)
            shape = (int(starts[-1]),)
            with (
                saving_blocks(folder, number, "documents", np.int32, shape) as add_documents,
                saving_blocks(folder, number, "weights", np.float32, shape) as add_weights,
            ):
                for first, stop in _blocks(segments):
                    _, documents, weights = _joined(segments, numbers, first, stop)
                    add_documents(documents)
                    add_weights(weights)
        return cls.load(folder, number, size)

    @classmethod
    def load(cls, folder: Path, number: int, size: int) -> Self:
        """Map the files of a segment into memory; raise `StorageError` if they do not fit together."""
        starts, documents, weights = (load_array(array_file(folder, number, part)) for part in PARTS)
        kinds = [(array.dtype, array.ndim) for array in (starts, documents, weights)]
        wanted = [(np.dtype(kind), 1) for kind in (np.int64, np.int32, np.float32)]
        if kinds != wanted or not len(starts) or not int(starts[-1]) == len(documents) == len(weights):
            raise StorageError(
                f"{array_file(folder, number, 'starts')} does not fit the postings beside it: build the index again"
            )
        return cls(number, size, starts, documents, weights, folder)

    def add_scores(self, terms: "Terms", scores: NDArray[np.float32]) -> None:
        """Add what each term of a query contributes to the scores of the documents, float32 [documents]."""
        for column, weight in zip(terms.columns, terms.weights, strict=True):
            documents, weights = self._postings(column)
            if len(documents):
                add_scaled(documents, weights, weight, scores)

    def weights_of(self, column: int, wanted: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return which of the `wanted` documents contain a term, as positions among them, and its weights there."""
        documents, weights = self._postings(column)
        places = np.searchsorted(documents, wanted)
        places[places == len(documents)] = 0
        found = np.flatnonzero(documents[places] == wanted) if len(documents) else np.zeros(0, np.int64)
        return found.astype(np.int32), weights[places[found]]

    def checked(self, start: int, stop: int) -> slice:
        """Return the range of these postings; raise `StorageError` if it, or one of their documents, does not exist.

        SciPy does not look at bounds when it adds up: a document that does not exist would overwrite memory.
        """
        documents = self.documents[start:stop]
        if 0 <= start <= stop and (not len(documents) or int(documents.view(np.uint32).max()) < self.size):
            return slice(start, stop)
        file = array_file(self.folder, self.number, "documents")
        raise StorageError(f"{file} is damaged: it names documents that do not exist; build the index again")

    def _postings(self, column: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the documents that contain a term, and its weights there; they are checked when first used."""
        part = slice(int(self.starts[column]), int(self.starts[column + 1]))
        if column not in self._checked:
            self.checked(part.start, part.stop)
            self._checked.add(column)
        return self.documents[part], self.weights[part]


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """A query's terms: their columns, and float32 weights [terms]."""

    columns: list[int]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, queries: "csr_matrix", row: int) -> Self:
        """Return the terms of one row of canonical weights [queries, columns]."""
        part = slice(queries.indptr[row], queries.indptr[row + 1])
        return cls(queries.indices[part].tolist(), queries.data[part])


def add_scaled(
    places: NDArray[np.int32], weights: NDArray[np.float32], factor: np.float32, scores: NDArray[np.float32]
) -> None:
    """Add ``factor * weights`` to ``scores[places]``; no place may occur twice.

    SciPy's product of a column with a number does it in one pass, NumPy's indexing in four.
    """
    product = _product()
    if product is None:
        scores[places] += factor * weights
    else:
        ends = np.array([0, len(places)], np.int32)
        product(len(scores), 1, ends, places, weights, np.array([factor], np.float32), scores)


def _product() -> Any:
    """Return the function that multiplies a compressed column with a vector and adds it up in place, if SciPy has it.

    `csc_matrix.dot` calls it, but allocates a vector of all documents for each column.
    """
    from scipy.sparse import _sparsetools

    return getattr(_sparsetools, "csc_matvec", None)


def _blocks(segments: Sequence[Segment]) -> Iterator[tuple[int, int]]:
    """Yield ranges of columns that together have few enough postings to be joined in memory, or one column."""
    totals = np.sum([segment.starts for segment in segments], axis=0)
    first, columns = 0, len(totals) - 1
    while first < columns:
        stop = int(np.searchsorted(totals, totals[first] + POSTINGS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, first + 1), columns)
        yield first, stop
        first = stop


def _joined(
    segments: Sequence[Segment], numbers: Sequence[NDArray[np.int32]], first: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return the postings of a range of columns: their columns from `first`, new documents, and weights."""
    owners, documents, weights = [], [], []
    for segment, renumbered in zip(segments, numbers, strict=True):
        part = segment.checked(int(segment.starts[first]), int(segment.starts[stop]))
        found = renumbered[segment.documents[part]]
        kept = found >= 0
        owners.append(np.repeat(np.arange(stop - first), np.diff(segment.starts[first : stop + 1]))[kept])
        documents.append(found[kept])
        weights.append(segment.weights[part][kept])
    columns = np.concatenate(owners)
    order = np.argsort(columns, kind="stable")
    return columns[order], np.concatenate(documents)[order], np.concatenate(weights)[order]
