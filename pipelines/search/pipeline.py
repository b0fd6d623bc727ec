"""SearchPipeline: the whole way from a question to ranked, explained documents."""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexing.collection import Collection
from indexing.errors import InputError
from indexing.hits import Hit, Hits
from pipelines.search.cache import AnswerCache, hashable
from pipelines.search.config import SEARCH_FILE, SearchConfig
from pipelines.search.explaining import explain as explain_hits
from pipelines.search.fusing import fusion_config, make_fusion
from pipelines.search.opening import (
    CONFIGURED,
    Configured,
    first_stage,
    make_reranker,
    open_retrievers,
    with_arguments,
)
from pipelines.search.refine import Refine
from pipelines.search.results import SearchResult, SearchResults
from retrieve.budget import Budget
from retrieve.fusion import Fusion, reciprocal_rank_fusion
from retrieve.hybrid import HybridRetriever, OnLegError
from retrieve.retrievers import Retriever
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder
    from retrieve.rerankers import CandidateReranker

QUERIES_AT_ONCE = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of a search, whatever its queries."""

    k: int = 10
    filter: Any = None
    explain: bool = False
    budget: Budget | None = None
    refine: Refine | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise InputError(f"k must be at least 1, not {self.k}")


class SearchPipeline:
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
        candidates: int = 50,
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
        collection = Collection.open(directory)
        try:
            if config is None:
                config = SearchConfig.of_collection(directory)
            elif not isinstance(config, SearchConfig):
                config = SearchConfig.load(config)
            config = with_arguments(
                config, collection, legs, depth, reranker, candidates, budget, on_leg_error, workers, cache
            )
            chosen = config.legs or {}
            retrievers = open_retrievers(collection, chosen, {"faiss": dense, "impact": sparse})
            if fusion is None or isinstance(fusion, Mapping):
                config = config if fusion is None else replace(config, fusion=fusion)
                fusion = make_fusion(config.fusion, retrievers)
            made: CandidateReranker | None = None
            if config.reranker is not None:
                made = make_reranker(config.reranker, collection, retrievers, dense)
            elif reranker is not CONFIGURED and not isinstance(reranker, str):
                made = reranker
            depths = {name: leg.depth or config.depth for name, leg in chosen.items()}
            stated = config.reranker
            pipeline = cls(
                first_stage(retrievers, fusion, depths, config.on_leg_error),
                collection,
                reranker=made,
                candidates=candidates or (stated.candidates if stated is not None else 50),
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
            answers = self._answer([text for _, text in block], asked, Trace(explain=asked.explain))
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
            As `search`'s, without ``explain``.
        """
        asked, trace = Asked(k, **options), Trace()
        if asked.explain:
            raise InputError("multi_search cannot explain: search for one of the wordings with explain=True")
        if isinstance(queries, str) or not queries:
            raise InputError(f"queries must be a list of at least one string, not {queries!r}")
        start = time.perf_counter()
        found = self.retriever.search(list(queries), self._depth(asked), filter=asked.filter, trace=trace)
        with trace.stage("fusion of queries"):
            hits = fusion([found.part(row, row + 1).as_leg(f"query {row + 1}") for row in range(len(queries))])
        return self._finish([queries[0]], hits.top(self._depth(asked)), asked, trace, start)[0]

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
                trace = Trace()
                parts.append(self._reranked(block, self._found(block, asked, trace), asked, trace).top(k))
                bar.update(len(block))
        return Hits.concatenate(parts)

    def close(self) -> None:
        """End the searches that wait, and close the threads and the collection."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self.retriever.close()
        self.collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one(self, query: str, asked: Asked, trace: Trace) -> SearchResults:
        """Answer one query, from the cache where it is there."""
        if not self.cache.size:
            return self._answer([query], asked, trace)[0]
        key = self._key(query, asked)
        found = self.cache.get(key)
        if found is None:
            found = self._answer([query], asked, trace)[0]
            if not found.degraded and not trace.out_of_time:
                self.cache.put(key, found)
        return found

    def _key(self, query: str, asked: Asked) -> Hashable:
        sequence = getattr(self.collection.documents, "sequence", 0)
        return sequence, query, hashable(asked.filter), replace(asked, filter=None)

    def _answer(self, queries: Sequence[str], asked: Asked, trace: Trace) -> list[SearchResults]:
        """Answer some queries together."""
        start = time.perf_counter()
        return self._finish(queries, self._found(queries, asked, trace), asked, trace, start)

    def _depth(self, asked: Asked) -> int:
        """How many hits the first stage must give."""
        wanted = asked.k if asked.refine is None else max(asked.k, asked.refine.pool)
        return wanted if self.reranker is None else max(wanted, self.candidates)

    def _found(self, queries: Sequence[str], asked: Asked, trace: Trace) -> Hits:
        hits = self.retriever.search(queries, self._depth(asked), filter=asked.filter, trace=trace)
        return hits if hits.legs else hits.as_leg(self.retriever.name)

    def _reranked(self, queries: Sequence[str], hits: Hits, asked: Asked, trace: Trace) -> Hits:
        if self.reranker is None:
            return hits
        budget = asked.budget or self.budget
        budget = replace(budget, top=budget.top or asked.k)
        return self.reranker.rerank(
            queries, hits, self.collection.documents, depth=self.candidates, budget=budget, trace=trace
        )

    def _finish(
        self, queries: Sequence[str], found: Hits, asked: Asked, trace: Trace, start: float
    ) -> list[SearchResults]:
        """Rerank, refine, fetch and explain what was found for some queries."""
        refine = asked.refine
        wanted = asked.k if refine is None else max(asked.k, refine.pool)
        hits = self._reranked(queries, found, asked, trace).top(wanted)
        rankings: list[list[Hit]] = [ranking[:] for ranking in hits]
        with trace.stage("documents"):
            fetch = sorted(set(hits.doc_ids)) if refine is None or refine.reads_documents else []
            documents = dict(zip(fetch, self.collection.documents.get(fetch), strict=True))
        if refine is not None:
            with trace.stage("refine"):
                rankings = [refine.apply(ranking, asked.k, documents, self._vectors) for ranking in rankings]
                missing = sorted({hit.doc_id for ranking in rankings for hit in ranking} - documents.keys())
                documents |= dict(zip(missing, self.collection.documents.get(missing), strict=True))
        explanations = None
        if asked.explain:
            with trace.stage("explain"):
                legs = getattr(self.retriever, "legs", (self.retriever,))
                explanations = explain_hits(legs, queries, hits, trace)
        timings = {stage: 1000 * seconds / len(queries) for stage, seconds in trace.seconds.items()}
        timings["total"] = 1000 * (time.perf_counter() - start) / len(queries)
        return [
            SearchResults(
                (
                    _result(
                        hit,
                        rank,
                        documents[hit.doc_id],
                        None if explanations is None else explanations[int(hits.offsets[row]) + hit.rank - 1],
                    )
                    for rank, hit in enumerate(ranking, 1)
                ),
                timings=timings,
                failures=trace.failures,
                reranked=None if trace.scored is None else int(trace.scored[row]),
            )
            for row, ranking in enumerate(rankings)
        ]

    def _vectors(self, ids: Sequence[str]) -> NDArray[np.floating]:
        """Give the stored vectors of these documents, from the first leg that has any."""
        from retrieve.retrievers import DenseRetriever

        legs: Sequence[Retriever] = getattr(self.retriever, "legs", (self.retriever,))
        give: Callable[[Sequence[str]], NDArray[np.floating]] | None = next(
            (leg.index.vectors for leg in legs if isinstance(leg, DenseRetriever) and hasattr(leg.index, "vectors")),
            None,
        )
        if give is None:
            raise InputError("mmr compares the vectors of hits, and no leg of this pipeline has any: add a dense leg")
        return give(ids)


def _blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while block := list(islice(source, size)):
        yield block


def _result(hit: Hit, rank: int, document: Any, explanation: Any) -> SearchResult:
    return SearchResult(
        hit.doc_id, hit.score, rank, document.title, document.text, document.metadata, hit.legs, explanation
    )
