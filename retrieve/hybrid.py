"""HybridRetriever: several legs at once, fused into one ranking that remembers where each hit came from."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion import Fusion, weighted_sum
from retrieve.retrievers import Retriever


class HybridRetriever(Retriever):
    """Runs its legs concurrently and fuses what they find.

    Parameters
    ----------
    legs
        The retrievers, each with its own name; hits keep each leg's rank and score under it.
    fusion
        `weighted_sum` (default) normalises scores by min-max for each query and leg and adds them:
        ``sum of weight * (s - min) / (max - min) / sum of weights``.
        `reciprocal_rank_fusion` adds ``weight / (k + rank)``, with ``k=60`` and ranks from 1.
        In both a leg that did not return a document adds nothing. Bind options with `functools.partial`:
        ``fusion=partial(reciprocal_rank_fusion, k=20)``.
    depth
        How many hits each leg gives to the fusion (more when more are asked for).
    """

    def __init__(
        self, legs: Sequence[Retriever], *, fusion: Fusion = weighted_sum, depth: int = 100, name: str = "hybrid"
    ) -> None:
        super().__init__(name)
        names = [leg.name for leg in legs]
        if not legs or len(set(names)) < len(names):
            raise InputError(f"a hybrid needs legs with different names, not {names}")
        if depth < 1:
            raise InputError(f"depth must be at least 1, not {depth}")
        self.legs, self.fusion, self.depth = tuple(legs), fusion, depth
        self._pool = ThreadPoolExecutor(max_workers=len(legs), thread_name_prefix="leg")

    def _search(self, queries: Sequence[str], k: int) -> Hits:
        depth = max(self.depth, k)
        searches = [self._pool.submit(leg.search, queries, depth) for leg in self.legs]
        return self.fusion(
            [search.result().as_leg(leg.name) for leg, search in zip(self.legs, searches, strict=True)]
        ).top(k)

    def close(self) -> None:
        """Let the threads go; the legs stay open."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
