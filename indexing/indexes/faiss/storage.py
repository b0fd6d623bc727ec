"""Access to the vectors inside a FAISS index: reads, overwrites, copies and removals without rebuilding it."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

ROWS_AT_ONCE = 8192
"""Number of vectors decoded at once, so that a scan of many needs little memory."""

_MAPPING = threading.Lock()
"""Held while positions are mapped to lists: FAISS's map is in use before it is filled."""

Read: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Return the vectors at these positions."""


def changes_in_place(index: "faiss.Index") -> bool:
    """Return whether vectors can be changed in place: the index is a single array of codes (Flat, SQ, PQ)."""
    import faiss

    return isinstance(index, faiss.IndexFlatCodes)


def overwrite(index: "faiss.IndexFlatCodes", positions: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
    """Overwrite the vectors at these positions."""
    _codes(index)[positions] = index.sa_encode(rows)


def joined(
    empty: "faiss.IndexFlatCodes", parts: Sequence["faiss.IndexFlatCodes"], alive: Sequence[NDArray[np.bool_]] = ()
) -> "faiss.IndexFlatCodes":
    """Fill an empty index with the codes of others, by default all of them, else those at the positions `alive`."""
    masks = list(alive) or [np.ones(part.ntotal, np.bool_) for part in parts]
    empty.ntotal = int(sum(np.count_nonzero(mask) for mask in masks))
    empty.codes.resize(empty.ntotal * empty.code_size)
    codes, start = _codes(empty), 0
    for part, mask in zip(parts, masks, strict=True):
        stop = start + int(np.count_nonzero(mask))
        if stop > start:
            codes[start:stop] = _codes(part) if stop - start == len(mask) else _codes(part)[mask]
        start = stop
    return empty


def drop(index: "faiss.Index", alive: NDArray[np.bool_]) -> None:
    """Remove the deleted positions and renumber the others in order.

    In inverted lists the codes stay unchanged. Other indexes (graphs, refined ones) are refilled with their own
    vectors; quantised vectors are decoded and encoded again.
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
    """Return the vectors [positions, dimension], decoded if they are quantised."""
    import faiss

    if not len(positions):
        return np.zeros((0, index.d), np.float32)
    flat = _as_floats(index)
    if flat is not None:
        return flat[positions]
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        with _MAPPING:
            if lists.direct_map.no():
                # Eight bytes per vector, from its number to its position in a list.
                lists.make_direct_map(True)
    return index.reconstruct_batch(positions)


def scores_at(read: Read, positions: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner product of each query and the vector at each position, float32 [queries, positions]."""
    scores = np.empty((len(queries), len(positions)), np.float32)
    for start in range(0, len(positions), ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        scores[:, start:stop] = queries @ read(positions[start:stop]).T
    return scores


def pair_scores(
    read: Read,
    positions: NDArray[np.int64],
    queries: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the inner product of the vector at ``positions[i]`` and the query ``rows[i]``, float32 [positions]."""
    scores = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        scores[part] = np.einsum("id,id->i", read(positions[part]), queries[rows[part]])
    return scores


def load(file: Path, *, mapped: bool) -> "faiss.Index":
    """Read an index from its file, or map it into memory if FAISS can.

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


def copied(index: "faiss.Index") -> "faiss.Index":
    """Return a copy of an index that is in memory."""
    import faiss

    return faiss.clone_index(index)


def memory_bytes(index: "faiss.Index") -> int:
    """Estimate the memory of codes, graph and ids in lists."""
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
    """Return the stored vectors as an array, or None if they are quantised."""
    import faiss

    if isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    if not isinstance(index, faiss.IndexFlat):
        return None
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)


def _plain_lists(index: "faiss.Index") -> "faiss.IndexIVF | None":
    """Return the inverted lists if they hold all of the index's data, else None."""
    import faiss

    lists = index
    if isinstance(index, faiss.IndexPreTransform):
        lists = faiss.downcast_index(index.index)
    # The lists of fast-scan indexes interleave their codes and do not expose their ids.
    if not isinstance(lists, faiss.IndexIVF) or isinstance(lists, faiss.IndexIVFFastScan):
        return None
    return lists
