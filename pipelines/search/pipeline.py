"""SearchPipeline: the whole way from a question to ranked, explained documents."""

import asyncio
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tqdm import tqdm

from indexing.collection.reader import Collection
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.resources import Closing
from pipelines.search.cache import AnswerCache, hashable
from pipelines.search.config import CANDIDATES, SEARCH_FILE, SearchConfig
from pipelines.search.fusing import fusion_config
from pipelines.search.opening import CONFIGURED, Configured, open_parts, with_arguments
from pipelines.search.query_variants import answer_wordings
from pipelines.search.refine import Refine
from pipelines.search.results import SearchResults
from pipelines.search.stages import Asked, Stages
from retrieve.fusion import Fusion, reciprocal_rank_fusion
from retrieve.hybrid import HybridRetriever, OnLegError
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Retriever
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder
    from retrieve.reranking.base import CandidateReranker

QUERIES_AT_ONCE = 256

T = TypeVar("T")


class SearchPipeline(Closing):
    """A first stage (one leg, or several fused), an optional reranker, and the documents they speak of.

    `open` makes one from a collection on disk, `from_config` from a file; the constructor takes parts of your own.
    Any number of threads may search at once.

    Parameters
    ----------
    retriever
        The first stage; closed with the pipeline.
    collection
        Where the documents are; closed with the pipeline.
    reranker
        The second stage, if any.
    candidates
        How many first-stage hits the reranker may read.
    budget
        What it may spend on a query, unless a search says otherwise.
    workers
        How many searches `asearch` runs at once.
    cache
        How many answers are kept, the least recently asked for leaving first; 0 keeps none. An answer is found again
        by the query, everything else that was asked, and the collection's sequence number: a write makes all of them
        old. Answers that lack a leg, or whose reranker ran out of time, are not kept.
    """

    def __init__(
        self,
        retriever: Retriever,
        collection: Collection,
        *,
        reranker: "CandidateReranker | None" = None,
        candidates: int = CANDIDATES,
        budget: Budget | None = None,
        workers: int = 4,
        cache: int = 0,
    ) -> None:
        if candidates < 1:
            raise InputError(f"candidates must be at least 1, not {candidates}")
        if workers < 1:
            raise InputError(f"workers must be at least 1, not {workers}")
        self.retriever, self.collection, self.reranker, self.candidates = retriever, collection, reranker, candidates
        self.budget = budget or Budget()
        self.cache = AnswerCache(cache)
        self._config: SearchConfig | None = None
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="search")

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        config: SearchConfig | str | Path | Mapping[str, Any] | None = None,
        legs: Sequence[str] | None = None,
        fusion: Fusion | Mapping[str, Any] | None = None,
        depth: int | Mapping[str, int] | None = None,
        dense: "str | Path | DenseEncoder | None" = None,
        sparse: "str | Path | SparseEncoder | None" = None,
        reranker: "str | CandidateReranker | Configured | None" = CONFIGURED,
        candidates: int | None = None,
        budget: Budget | None = None,
        on_leg_error: OnLegError | None = None,
        workers: int | None = None,
        cache: int | None = None,
    ) -> Self:
        """Open a collection with all its legs, or the named ones.

        What is not given here is as the configuration says; where that says nothing, as `SearchConfig` has it.

        Parameters
        ----------
        directory
            What `build_collection` or ``retrieve index`` made.
        config
            A configuration, its file or its content; by default ``search.yaml`` in `directory`, if it is there.
        legs
            Names of legs (``bm25``, ``dense``, ``sparse``), all by default; several are fused.
        fusion
            As for `HybridRetriever`, or its configuration.
        depth
            How many hits each leg gives to the fusion: one number, or one a leg by its name.
        dense, sparse
            The query encoder, loaded or by path or name; by default the one the manifest names.
        reranker
            A reranker, or the path or name of a cross-encoder, or ``"late-interaction"``: MaxSim over the token
            vectors of the dense leg's encoder. None is none, whatever the configuration says.
        candidates
            How many first-stage hits the reranker may read (50).
        budget, workers, cache
            As for the constructor.
        on_leg_error
            As for `HybridRetriever`.

        Raises
        ------
        StorageError
            No collection there, or no such leg.
        ModelError
            An encoder that cannot be found, or is not the one the leg was built with.
        InputError
            A configuration that cannot be used, naming its file and key.
        """
        if isinstance(legs, str):
            raise InputError(f"legs must be a list of names, not the string {legs!r}: legs=[{legs!r}]")
        if isinstance(fusion, Mapping):
            fusion, stated_fusion = None, fusion
        else:
            stated_fusion = None
        collection = Collection.open(directory)
        try:
            config = with_arguments(
                SearchConfig.of(config, directory),
                collection,
                legs=legs,
                fusion=stated_fusion,
                depth=depth,
                reranker=reranker,
                candidates=candidates,
                budget=budget,
                on_leg_error=on_leg_error,
                workers=workers,
                cache=cache,
            )
            given = reranker if config.reranker is None and not isinstance(reranker, str | Configured) else None
            retriever, second = open_parts(collection, config, fusion, given, dense=dense, sparse=sparse)
            stated = config.reranker
            pipeline = cls(
                retriever,
                collection,
                reranker=second,
                candidates=candidates or (stated.candidates if stated is not None else CANDIDATES),
                budget=budget or (stated.budget if stated is not None else None),
                workers=config.workers,
                cache=config.cache,
            )
        except BaseException:
            collection.close()
            raise
        pipeline._config = config
        return pipeline

    @classmethod
    def from_config(cls, config: str | Path | Mapping[str, Any], **arguments: Any) -> Self:
        """Open what a YAML file, or a mapping of the same form, describes.

        Parameters
        ----------
        config
            As `SearchConfig` says, with the key ``collection``: a directory, as seen from the file's folder. A file
            that lies in its collection's directory needs none.
        arguments
            As for `open`, before what the file says.

        Raises
        ------
        InputError
            A configuration that cannot be used, naming its file and key.
        """
        read = SearchConfig.load(config)
        folder = Path() if isinstance(config, Mapping) else Path(config).parent
        if read.collection is None and isinstance(config, Mapping):
            raise InputError("the configuration names no collection: add the key 'collection' with its directory")
        return cls.open(folder / (read.collection or "."), config=read, **arguments)

    def save(self, path: str | Path | None = None) -> Path:
        """Write the configuration, for `from_config`; by default where `open` finds it, in the collection's directory.

        Raises
        ------
        InputError
            For a part that a file cannot name: a fusion or a reranker of your own, a pipeline that was not opened
            from a collection.
        """
        if self._config is None:
            raise InputError("a pipeline of parts of your own cannot be written down: open it from its collection")
        path = self.collection.path / SEARCH_FILE if path is None else Path(path)
        config = self._config
        if self.reranker is not None and config.reranker is None:
            raise InputError(f"the reranker {type(self.reranker).__name__} was given loaded: open it by its name")
        if isinstance(self.retriever, HybridRetriever):
            config = replace(config, fusion=fusion_config(self.retriever.fusion, self.retriever.legs))
        inside = path.absolute().parent == self.collection.path.absolute()
        config = replace(config, collection=None if inside else str(self.collection.path.absolute()))
        config.save(path)
        return path

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Any = None,
        explain: bool = False,
        budget: Budget | None = None,
        refine: Refine | None = None,
    ) -> SearchResults:
        """Find the `k` best documents for one query.

        Parameters
        ----------
        filter
            Only documents that it lets through, on every leg.
        explain
            Say for each hit why it is there (`Explanation`), at the cost of some milliseconds.
        budget
            What the reranker may spend, instead of the pipeline's.
        refine
            A threshold, one hit a group, variety: what becomes of the best hits before they are shown.

        Raises
        ------
        InputError
            For `k` below 1, a query that is no string, or a filter that cannot be used.
        """
        return self._one(query, Asked(k, filter, explain, budget, refine), Trace(explain=explain))

    def batch_search(self, queries: Mapping[str, str], k: int = 10, **options: Any) -> dict[str, SearchResults]:
        """Find the `k` best documents for each query, given as ``{query_id: text}``; options as `search`'s."""
        if not isinstance(queries, Mapping):
            raise InputError("batch_search takes {query_id: text}; for a list of texts there is retrieve")
        return dict(self.iter_search(queries, k, **options))

    def iter_search(
        self, queries: Mapping[str, str] | Iterable[tuple[str, str]], k: int = 10, **options: Any
    ) -> Iterator[tuple[str, SearchResults]]:
        """Answer any number of queries, `QUERIES_AT_ONCE` together, giving each id with its results in order.

        Parameters
        ----------
        queries
            ``{query_id: text}``, or pairs of them without end: no more are read than are answered.
        options
            As `search`'s.
        """
        asked = Asked(k, **options)
        pairs = queries.items() if isinstance(queries, Mapping) else queries
        for block in _blocks(pairs, QUERIES_AT_ONCE):
            answers = self._stages.answer([text for _, text in block], asked, Trace(explain=asked.explain))
            yield from zip([query_id for query_id, _ in block], answers, strict=True)

    async def asearch(self, query: str, k: int = 10, **options: Any) -> SearchResults:
        """Find the `k` best documents for one query without blocking the event loop; options as `search`'s.

        At most `workers` searches run at once, in threads; others wait their turn. A cancelled one that waits never
        runs; one that runs ends before its next stage (or the reranker's next portion).
        """
        asked, cancelled = Asked(k, **options), threading.Event()
        trace = Trace(explain=asked.explain, cancelled=cancelled)
        try:
            return await asyncio.wrap_future(self._workers.submit(self._one, query, asked, trace))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def multi_search(
        self, queries: Sequence[str], k: int = 10, *, fusion: Fusion = reciprocal_rank_fusion, **options: Any
    ) -> SearchResults:
        """Find the `k` best documents for one question in several wordings, fused.

        Parameters
        ----------
        queries
            The question first, then its rewritings: all are searched for together; the reranker reads the first.
        fusion
            Of the wordings' rankings; RRF with ``k=60`` by default. Their provenance is ``query 1``, ``query 2``, …
        options
            As `search`'s. With ``explain=True`` each wording that found a hit says its rank, score and share, and its
            legs theirs.
        """
        asked = Asked(k, **options)
        return answer_wordings(self._stages, queries, asked, fusion, Trace(explain=asked.explain))

    def retrieve(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        filter: Any = None,
        budget: Budget | None = None,
        show_progress: bool = False,
    ) -> Hits:
        """Find without fetching texts: `Hits` for several queries, as a harness wants them."""
        asked = Asked(k, filter, budget=budget)
        parts = []
        with tqdm(total=len(queries), desc="searching", unit="query", disable=not show_progress) as bar:
            for block in _blocks(queries, QUERIES_AT_ONCE):
                trace, stages = Trace(), self._stages
                parts.append(stages.rerank(block, stages.find(block, asked, trace), asked, trace).top(k))
                bar.update(len(block))
        return Hits.concatenate(parts)

    def close(self) -> None:
        """End the searches that wait, and close the threads and the collection."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self.retriever.close()
        self.collection.close()

    @property
    def _stages(self) -> Stages:
        return Stages(self.retriever, self.collection, self.reranker, self.candidates, self.budget)

    def _one(self, query: str, asked: Asked, trace: Trace) -> SearchResults:
        """Answer one query, from the cache where it is there."""
        if not self.cache.size:
            return self._stages.answer([query], asked, trace)[0]
        key = self._key(query, asked)
        found = self.cache.get(key)
        if found is None:
            found = self._stages.answer([query], asked, trace)[0]
            if not found.degraded and not trace.out_of_time:
                self.cache.put(key, found)
        return found

    def _key(self, query: str, asked: Asked) -> Hashable:
        sequence = getattr(self.collection.documents, "sequence", 0)
        return sequence, query, hashable(asked.filter), replace(asked, filter=None)


def _blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while block := list(islice(source, size)):
        yield block
