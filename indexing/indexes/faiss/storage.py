"""Vectors where FAISS keeps them: read, overwritten and removed in place, without building the index again."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

ROWS_AT_ONCE = 8192
"""Vectors decoded at a time, so that a scan of many needs little memory."""


def changes_in_place(index: "faiss.Index") -> bool:
    """Say whether the index is one array of codes (Flat, SQ, PQ and their kin)."""
    import faiss

    return isinstance(index, faiss.IndexFlatCodes)


def overwrite(index: "faiss.IndexFlatCodes", positions: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
    """Put these vectors at these positions."""
    _codes(index)[positions] = index.sa_encode(rows)


def move_and_truncate(
    index: "faiss.IndexFlatCodes", holes: NDArray[np.int64], movers: NDArray[np.int64], left: int
) -> None:
    """Copy each mover into its hole and keep the first `left` positions only."""
    codes = _codes(index)
    codes[holes] = codes[movers]
    index.codes.resize(left * index.code_size)
    index.ntotal = left


def drop(index: "faiss.Index", alive: NDArray[np.bool_]) -> None:
    """Take the dead positions out and number the others anew, in their order.

    Inverted lists keep their codes as they are. What has no lists (graphs, refined indexes) is filled again from its
    own vectors, which for quantised ones are the decoded ones.
    """
    import faiss

    lists = _plain_lists(index)
    if lists is None:
        rows = read(index, np.flatnonzero(alive))
        index.reset()
        if len(rows):
            index.add(rows)
        return
    lists.make_direct_map(False)
    lists.remove_ids(faiss.IDSelectorBitmap(np.packbits(~alive, bitorder="little")))
    index.ntotal = lists.ntotal
    renumbered = np.cumsum(alive) - 1
    for number in range(lists.nlist):
        size = lists.invlists.list_size(number)
        if size:
            ids = faiss.rev_swig_ptr(lists.invlists.get_ids(number), size)
            ids[:] = renumbered[ids]


def read(index: "faiss.Index", positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Give the vectors [positions, dimension], decoded where they are quantised."""
    import faiss

    if not len(positions):
        return np.zeros((0, index.d), np.float32)
    flat = _as_floats(index)
    if flat is not None:
        return flat[positions]
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None and lists.direct_map.no():
        # Eight bytes a vector: from its number to the place in its list.
        lists.make_direct_map(True)
    return index.reconstruct_batch(positions)


def scores_at(index: "faiss.Index", positions: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the inner product of every query with the vector at every position, float32 [queries, positions]."""
    scores = np.empty((len(queries), len(positions)), np.float32)
    for start in range(0, len(positions), ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        scores[:, start:stop] = queries @ read(index, positions[start:stop]).T
    return scores


def pair_scores(
    index: "faiss.Index",
    positions: NDArray[np.int64],
    queries: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Give the inner product of the vector at ``positions[i]`` with the query ``rows[i]``, float32 [positions]."""
    scores = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        scores[part] = np.einsum("id,id->i", read(index, positions[part]), queries[rows[part]])
    return scores


def load(file: Path, *, mapped: bool) -> "faiss.Index":
    """Read an index from its file, or map it into memory where FAISS can.

    FAISS has two ways of mapping: one for arrays of codes and graphs, one for inverted lists.
    """
    import faiss

    if not mapped:
        return faiss.read_index(str(file))
    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        if faiss.try_extract_index_ivf(index) is None:
            return index
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
    except RuntimeError:
        return faiss.read_index(str(file))


def memory_bytes(index: "faiss.Index") -> int:
    """Estimate the memory of codes, graph and list numbers."""
    import faiss

    if isinstance(index, faiss.IndexPreTransform):
        return memory_bytes(faiss.downcast_index(index.index))
    if isinstance(index, faiss.IndexRefine):
        parts = (index.base_index, index.refine_index)
        return sum(memory_bytes(faiss.downcast_index(part)) for part in parts)
    if isinstance(index, faiss.IndexHNSW):
        return memory_bytes(faiss.downcast_index(index.storage)) + 4 * index.hnsw.neighbors.size()
    lists = faiss.try_extract_index_ivf(index)
    return int(index.ntotal) * (index.sa_code_size() if lists is None else lists.code_size + 8)


def _codes(index: "faiss.IndexFlatCodes") -> NDArray[np.uint8]:
    import faiss

    size = index.ntotal * index.code_size
    return faiss.rev_swig_ptr(index.codes.data(), size).reshape(index.ntotal, index.code_size)


def _as_floats(index: "faiss.Index") -> NDArray[np.float32] | None:
    """Give the stored vectors as an array, where they are stored whole."""
    import faiss

    if isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    if not isinstance(index, faiss.IndexFlat):
        return None
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)


def _plain_lists(index: "faiss.Index") -> "faiss.IndexIVF | None":
    """Give the inverted lists that hold all there is, if the index is of that kind."""
    import faiss

    lists = index
    if isinstance(index, faiss.IndexPreTransform):
        lists = faiss.downcast_index(index.index)
    # The lists of fast-scan indexes interleave their codes and are not numbered in the open.
    if not isinstance(lists, faiss.IndexIVF) or isinstance(lists, faiss.IndexIVFFastScan):
        return None
    return lists
