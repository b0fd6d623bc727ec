"""Following a collection: the parts that search it, opened anew as a whole when other processes have written to it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from indexing.collection.reader import Collection
from indexing.collection.snapshot import ATTEMPTS, Snapshot
from indexing.disk import file_stamp
from indexing.errors import InputError, LaterStateError, RetrieveError
from indexing.query_syntax import Synonyms
from indexing.resources import Closing, Lifetime
from pipelines.search.cache import AnswerCache
from pipelines.search.config import RerankerConfig, SearchConfig
from pipelines.search.results import SearchResults
from pipelines.search.stages import SearchRequest, Stages
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Retriever
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.reranking.base import CandidateReranker

logger = logging.getLogger(__name__)

T = TypeVar("T")

AUTO_REFRESH_SECONDS = 1.0
"""Seconds between two looks for changes with ``refresh="auto"``."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a pipeline uses to search one state of its collection; see `SearchPipeline`.

    Parameters
    ----------
    leg
        Returns the retriever of any leg of the collection; None when the parts were given loaded.
    make_reranker
        Returns a new reranker over the collection's legs; None when the parts were given loaded.
    synonyms
        Words that mean the same, for the text index.
    search_file
        The collection's ``search.yaml`` if it was read, with its `file_stamp` at that time.
    """

    retriever: Retriever
    reranker: "CandidateReranker | None"
    candidates: int
    budget: Budget
    cache: AnswerCache
    config: SearchConfig | None = None
    leg: Callable[[str], Retriever] | None = None
    make_reranker: "Callable[[RerankerConfig], CandidateReranker] | None" = None
    search_file: tuple[Path, tuple[int, ...] | None] | None = None
    synonyms: Synonyms | None = None

    @property
    def outdated(self) -> bool:
        """True when the configuration that these parts were opened with has been written since."""
        return self.search_file is not None and file_stamp(self.search_file[0]) != self.search_file[1]


def refresh_seconds(refresh: Any) -> float | None:
    """Return the seconds between two looks for changes; None for none."""
    if refresh is None:
        return None
    if refresh == "auto":
        return AUTO_REFRESH_SECONDS
    if isinstance(refresh, bool) or not isinstance(refresh, int | float) or not refresh >= 0:
        raise InputError(f"refresh must be None, 'auto' or a number of seconds, not {refresh!r}")
    return float(refresh)


def moved_parts(parts: Parts, older: Snapshot, newer: Snapshot) -> Parts:
    """Return parts that were given loaded, over the indexes of a newer state of their collection."""
    names = {id(index): name for name, index in older.indexes.items()}
    retriever = parts.retriever.over(lambda index: newer.index(names[id(index)]) if id(index) in names else index)
    return replace(parts, retriever=retriever, cache=AnswerCache(parts.cache.size))


def answer_one(stages: Stages, parts: Parts, query: str, request: SearchRequest, trace: Trace) -> SearchResults:
    """Return the results of one query, from the cache of this state if possible."""
    if not parts.cache.size:
        return stages.answer([query], request, trace)[0]
    state = stages.snapshot.state
    key = state, query, *request.key
    found = parts.cache.get(key)
    if found is None:
        found = stages.answer([query], request, trace)[0]
        if not found.degraded and not trace.out_of_time and stages.snapshot.state == state:
            parts.cache.put(key, found)
    return found


WARM_UP_WORDS = range(2, 31, 4)
"""Numbers of words of the queries of `warm_up`: with two special tokens each, one of every length that has kernels."""


class Following(Closing):
    """Base class of `SearchPipeline`: one state of a collection and of the parts that search it, until it refreshes."""

    def _start(
        self, collection: Collection, build: Callable[[Snapshot], Parts], refresh: float | None, workers: int = 1
    ) -> None:
        self.collection, self._refresh_seconds = collection, refresh
        self._look_at = 0.0 if refresh is None else time.monotonic() + refresh
        self._looking, self._pinned = threading.Lock(), threading.local()
        self._lifetime = Lifetime("pipeline")
        collection.follow(self, build)
        if self._parts.config is not None:
            workers = self._parts.config.workers
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="search")

    @property
    def _parts(self) -> Parts:
        parts: Parts = self.collection.snapshot.parts[self]
        return parts

    @property
    def _present(self) -> Parts:
        """The parts that searches of this thread use now; see `reading`."""
        pinned: tuple[Stages, Parts] | None = getattr(self._pinned, "state", None)
        return self._parts if pinned is None else pinned[1]

    @property
    def retriever(self) -> Retriever:
        """The first stage."""
        return self._parts.retriever

    @property
    def reranker(self) -> "CandidateReranker | None":
        """The second stage."""
        return self._parts.reranker

    @property
    def candidates(self) -> int:
        """Number of first-stage hits that the reranker may read."""
        return self._parts.candidates

    @property
    def budget(self) -> Budget:
        """Limits of the reranker."""
        return self._parts.budget

    @property
    def cache(self) -> AnswerCache:
        """Answers of the present state of the collection."""
        return self._parts.cache

    @property
    def tenants(self) -> str | None:
        """The field that names a document's tenant; None where nothing declares one."""
        return None if self._parts.config is None else self._parts.config.tenants

    @property
    def outdated(self) -> bool:
        """True when another process has committed to the collection, or its configuration has been written since."""
        return self.collection.outdated or self._parts.outdated

    def refresh(self) -> None:
        """Move to what other processes have committed, as a whole: documents, legs, reranker and cache.

        Searches that are running end in the state in which they began. After an error the pipeline stays as it is.
        """
        self._lifetime.check()
        self.collection.refresh()

    def warm_up(self) -> None:
        """Search for generated queries of several lengths, which are not cached.

        Weights are packed, kernels compiled for these lengths, indexes read into memory, and Java has loaded the
        classes of a search: the first search takes up to a second longer than later ones without it.
        """

        def run(stages: Stages, _: Parts) -> None:
            for words in WARM_UP_WORDS:
                stages.find([" ".join(["search"] * words)], SearchRequest(), Trace())
            stages.answer(["warm up"], SearchRequest(), Trace())

        self.in_one_state(run)

    def close(self) -> None:
        """Cancel waiting searches, stop the threads, and close the collection when running searches have ended."""
        if self._lifetime.closed:
            return
        self._lifetime.closed = True
        if self._lifetime.forked:
            return
        self._workers.shutdown(wait=True, cancel_futures=True)
        self.collection.snapshot.closing.callback(self.retriever.close)
        self.collection.close()

    def in_one_state(self, run: Callable[[Stages, Parts], T]) -> T:
        """Return what a function finds in one state of the collection.

        When it needs a leg that this state cannot open any more, the pipeline moves to the last state, as `refresh`
        does, and the function runs again from its beginning; inside a `reading` block it fails.

        Raises
        ------
        LaterStateError
            Inside a `reading` block, or when writers move the collection on time after time.
        """
        inside = getattr(self._pinned, "state", None) is not None
        attempts = 1 if inside else ATTEMPTS
        while True:
            try:
                with self.reading() as (stages, parts):
                    return run(stages, parts)
            except LaterStateError:
                attempts -= 1
                if not attempts:
                    raise
            self.refresh()

    @contextmanager
    def reading(self) -> Iterator[tuple[Stages, Parts]]:
        """Let all searches of this thread inside the block see one state of the collection, which stays open."""
        self._lifetime.check()
        pinned: tuple[Stages, Parts] | None = getattr(self._pinned, "state", None)
        if pinned is not None:
            yield pinned
            return
        self._look()
        with self.collection.reading() as snapshot:
            parts: Parts = snapshot.parts[self]
            config = parts.config or SearchConfig()
            stages = Stages(
                parts.retriever,
                snapshot,
                parts.reranker,
                parts.candidates,
                parts.budget,
                config.query_syntax,
                parts.synonyms,
                config.tenants,
            )
            self._pinned.state = stages, parts
            try:
                yield stages, parts
            finally:
                self._pinned.state = None

    def _look(self) -> None:
        """Refresh if it is time to look for changes and there are any; a failure is logged."""
        if self._refresh_seconds is None or time.monotonic() < self._look_at:
            return
        if not self._looking.acquire(blocking=False):
            return
        try:
            self._look_at = time.monotonic() + self._refresh_seconds
            if self.outdated:
                self.collection.refresh()
        except (RetrieveError, OSError) as error:
            logger.warning("%s cannot be refreshed; searches see the older state: %s", self.collection.path, error)
        finally:
            self._looking.release()
