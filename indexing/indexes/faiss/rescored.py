"""Binary and int8 codes, rescored from kept rows: small to search, and nearly exact."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.indexes.faiss import storage as faiss_storage

if TYPE_CHECKING:
    import faiss


def make_rescored(settings: Any) -> "faiss.Index":
    """Create an empty index of the kind ``"binary"`` or ``"int8"``; `settings` are `FaissSettings`."""
    import faiss

    width, is_binary = settings.dimension, settings.kind == "binary"
    # Signs without rotation or thresholds, compared by Hamming distance, of which less is better.
    codes = faiss.IndexLSH(width, width, False, False) if is_binary else _bytes(width)
    if settings.graph:
        codes.this.disown()
        graph = faiss.IndexHNSW(codes, settings.m) if is_binary else _byte_graph(width, settings.m)
        graph.hnsw.efConstruction = settings.ef_construction
        graph.own_fields = True
        codes = graph
    kept = settings.kept or ("int8" if is_binary else "float32")
    rows = _bytes(width) if kept == "int8" else faiss.IndexFlatIP(width)
    less_is_better, codes.metric_type = codes.metric_type, faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexRefine(codes, rows)
    codes.metric_type = less_is_better  # FAISS wants equal metrics of both, and only here.
    codes.this.disown()
    rows.this.disown()
    index.own_fields = index.own_refine_index = True
    index.metric_type = faiss.METRIC_INNER_PRODUCT
    index.k_factor = settings.rescore_multiplier
    index.is_trained = codes.is_trained and rows.is_trained
    return index


class SignSearch:
    """Search of an index of signs: candidates by Hamming distance, then scores of their kept rows.

    `faiss.IndexRefine` would sort a missing candidate first, because it takes its distance for a score.
    """

    def __init__(self, index: "faiss.IndexRefine", settings: Any) -> None:
        self._index, self._settings, self.ntotal = index, settings, int(index.ntotal)

    def search(
        self, queries: NDArray[np.float32], k: int, params: Any = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and positions [queries, k], best first, as `faiss.Index.search` does."""
        import faiss

        depth = min(self._settings.rescore_multiplier * k, self.ntotal)
        base = faiss.downcast_index(self._index.base_index)
        inner = None if params is None else params.base_index_params
        _, codes = base.search(queries, depth, params=inner)
        found = codes >= 0
        scores = np.full(codes.shape, -np.inf, np.float32)
        read = partial(faiss_storage.read, self._index)
        scores[found] = faiss_storage.pair_scores(read, codes[found], queries, np.nonzero(found)[0])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, axis=1), np.take_along_axis(codes, best, axis=1)


def _bytes(width: int) -> "faiss.Index":
    import faiss

    return faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)


def _byte_graph(width: int, links: int) -> "faiss.Index":
    import faiss

    return faiss.IndexHNSWSQ(width, faiss.ScalarQuantizer.QT_8bit, links, faiss.METRIC_INNER_PRODUCT)
