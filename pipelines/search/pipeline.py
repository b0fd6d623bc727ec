"""SearchPipeline: from a query to ranked, explained documents."""

import asyncio
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from indexing import inputs
from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.disk import file_stamp
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.inputs import local_path
from indexing.query_syntax import QuerySyntax
from pipelines.models import Models
from pipelines.search.blocks import blocks, checked_pair, search_blocks
from pipelines.search.boosts import Boost, Boosts
from pipelines.search.cache import AnswerCache
from pipelines.search.config import CANDIDATES, SEARCH_FILE, SearchConfig
from pipelines.search.facets import Facets
from pipelines.search.following import Following, Parts, answer_one, moved_parts, refresh_seconds
from pipelines.search.fusing import fusion_config
from pipelines.search.opening import CONFIGURED, Arguments, Configured, open_collection, with_fingerprint
from pipelines.search.query_variants import answer_variants
from pipelines.search.refine import Refine
from pipelines.search.results import SearchResults
from pipelines.search.stages import SearchRequest, Stages
from retrieve.fusion import Fusion, reciprocal_rank_fusion
from retrieve.fusion.choice import fusion_of
from retrieve.hybrid import HybridRetriever, OnLegError
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Retriever
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.reranking.base import CandidateReranker

QUERIES_AT_ONCE = 256


class SearchPipeline(Following):
    """A first stage (one leg, or several fused), an optional reranker, and the documents.

    `open` builds one from a collection on disk, `from_config` from a file; the constructor takes parts built elsewhere.
    Any number of threads may search at once.

    Parameters
    ----------
    retriever
        The first stage; closed with the pipeline.
    collection
        The documents; closed with the pipeline.
    reranker
        The second stage, if any.
    candidates
        Number of first-stage hits that the reranker may read.
    budget
        Limits of the reranker for a query; a search may override them.
    workers
        Number of searches that `asearch` runs at once.
    cache
        Number of answers kept in an LRU cache; 0 keeps none. The key is the query, the options of the search and the
        collection's sequence number, so that a write invalidates all answers; of a deployed collection it is read
        for each query, in two small requests to its server. Answers that lack a leg, or whose reranker ran out of
        time, are not cached.
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
        candidates, workers = inputs.whole_number(candidates, "candidates"), inputs.whole_number(workers, "workers")
        given = Parts(retriever, reranker, candidates, budget or Budget(), AnswerCache(cache))

        def build(snapshot: Snapshot) -> Parts:
            older = collection.snapshot
            return given if snapshot is older else moved_parts(older.parts[self], older, snapshot)

        self._start(collection, build, None, workers)

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        config: SearchConfig | str | Path | Mapping[str, Any] | None = None,
        legs: Sequence[str] | None = None,
        fusion: Fusion | Mapping[str, Any] | str | None = None,
        depth: int | Mapping[str, int] | None = None,
        dense: "str | Path | DenseEncoder | None" = None,
        sparse: "str | Path | SparseEncoder | None" = None,
        multi_vector: "str | Path | MultiVectorEncoder | None" = None,
        reranker: "str | CandidateReranker | Configured | None" = CONFIGURED,
        candidates: int | None = None,
        budget: Budget | None = None,
        on_leg_error: OnLegError | None = None,
        workers: int | None = None,
        cache: int | None = None,
        models: Models | None = None,
        refresh: Literal["auto"] | float | None = None,
        warm: bool = False,
    ) -> Self:
        """Open a collection with all its legs, or the named ones.

        Arguments override the configuration, which overrides the defaults of `SearchConfig`.

        Parameters
        ----------
        directory
            A collection built by `build_collection` or ``retrieve index``; or a deployed one, its folder or
            ``http://HOST:6333/NAME``.
        config
            A configuration, its file or its content; by default ``search.yaml`` in `directory`, if that exists.
        legs
            Names of legs (``bm25``, ``dense``, ``sparse``, ``tokens``), all by default; two or more are fused.
        fusion
            As for `HybridRetriever`, or its configuration, or the name of a method, such as ``rrf``.
        depth
            Number of hits that each leg gives to the fusion: one number, or one per leg by its name.
        dense, sparse, multi_vector
            The query encoder, loaded or by path or name; by default the one the manifest names.
        reranker
            A reranker, or the path or name of a cross-encoder, or ``"late-interaction"``: MaxSim over the token
            vectors that the collection stores, or else those of the dense leg's encoder. None turns off a configured
            reranker.
        candidates
            Number of first-stage hits that the reranker may read (50).
        budget, workers, cache
            As for the constructor.
        on_leg_error
            As for `HybridRetriever`.
        models
            The loader of encoders and rerankers, to share loaded models with other pipelines.
        refresh
            When searches move to what other processes have committed: None, only on `refresh`; a number, after a look
            at most every so many seconds before a search; ``"auto"``, every second.
        warm
            Search a few times first, so that the first search is as fast as later ones; see `warm_up`.

        Raises
        ------
        StorageError
            For a directory that is not a collection, or an unknown leg.
        ModelError
            For an encoder that cannot be loaded, or is not the one that the leg was built with.
        InputError
            For an invalid configuration, naming its file and key.
        """
        seconds, warm = refresh_seconds(refresh), inputs.flag(warm, "warm")
        if not isinstance(models, Models | None):
            raise InputError(f"models must be a Models or None, not {inputs.shown(models)}")
        arguments = Arguments(
            legs,
            fusion,
            depth,
            dense,
            sparse,
            multi_vector,
            reranker,
            candidates,
            budget,
            on_leg_error,
            workers,
            cache,
            models or Models(),
        )
        collection, config = open_collection(directory, config)
        search_file = local_path(directory, "directory") / SEARCH_FILE

        def build(snapshot: Snapshot) -> Parts:
            read = (search_file, file_stamp(search_file)) if config is None else None
            return replace(arguments.parts(snapshot, SearchConfig.of(config, directory)), search_file=read)

        pipeline = cls.__new__(cls)
        try:
            pipeline._start(collection, build, seconds)
            if warm:
                pipeline.warm_up()
        except BaseException:
            collection.close()
            raise
        return pipeline

    @classmethod
    def from_config(cls, config: str | Path | Mapping[str, Any], **arguments: Any) -> Self:
        """Open the pipeline that a YAML file, or a mapping of the same form, describes.

        Parameters
        ----------
        config
            See `SearchConfig`; the key ``collection`` is a directory relative to the file's folder. A file in its
            collection's directory does not need it.
        arguments
            As for `open`; they override the file.

        Raises
        ------
        InputError
            For an invalid configuration, naming its file and key.
        """
        read = SearchConfig.load(config)
        folder = Path() if isinstance(config, Mapping) else Path(config).parent
        if read.collection is None and isinstance(config, Mapping):
            raise InputError("the configuration names no collection: add the key 'collection' with its directory")
        return cls.open(folder / (read.collection or "."), config=read, **arguments)

    def save(self, path: str | Path | None = None) -> Path:
        """Write the configuration for `from_config`; by default to the collection's directory, where `open` reads it.

        Raises
        ------
        InputError
            For a part that a file cannot describe: a custom fusion or a loaded reranker, or a pipeline that was not
            opened from a collection.
        """
        config = self._parts.config
        if config is None:
            raise InputError("a pipeline made of loaded parts cannot be saved: open it from its collection")
        path = self.collection.path / SEARCH_FILE if path is None else local_path(path, "path")
        if self.reranker is not None and config.reranker is None:
            raise InputError(f"the reranker {type(self.reranker).__name__} was given loaded: open it by its name")
        config = replace(config, reranker=with_fingerprint(config.reranker, self.reranker))
        if isinstance(self.retriever, HybridRetriever):
            config = replace(config, fusion=fusion_config(self.retriever.fusion, self.retriever.legs))
        inside = path.absolute().parent == self.collection.path.absolute()
        config = replace(config, collection=None if inside else str(self.collection.path.absolute()))
        config.save(path)
        return path

    def leg(self, name: str) -> Retriever:
        """Return the retriever of one leg of the collection, opened if it is not searched; see `in_one_state`."""

        def opened(_: Stages, parts: Parts) -> Retriever:
            if parts.leg is not None:
                return parts.leg(name)
            return next(leg for leg in getattr(parts.retriever, "legs", (parts.retriever,)) if leg.name == name)

        return self.in_one_state(opened)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Any = None,
        explain: bool = False,
        budget: Budget | None = None,
        refine: Refine | None = None,
        query_syntax: QuerySyntax | None = None,
        offset: int | None = None,
        boosts: "Boosts | Boost | Sequence[Boost] | None" = None,
        facets: "Facets | Sequence[str] | None" = None,
        tenant: str | Sequence[str] | None = None,
    ) -> SearchResults:
        """Return the `k` best documents for one query.

        Parameters
        ----------
        filter
            Search only documents that match it, on every leg.
        explain
            Add an `Explanation` to each hit, which takes some milliseconds.
        budget
            Limits of the reranker, in place of the pipeline's.
        refine
            How the hits to show are chosen from the best ones: threshold, near-duplicates, groups, diversity.
        query_syntax
            ``plain``, in which no character is an operator, or ``simple`` for phrases, requirements, exclusions and
            more (docs/queries.md); by default as configured.
        offset
            Leave out so many better documents: a page. All pages of a query, the first with 0, are cut from one
            ranking of at most `PAGE_WINDOW` hits.
        boosts
            Add a stated part to the scores of recent documents, or of those with certain values.
        facets
            Declared fields whose values are counted in ``results.facets``.
        tenant
            Search only the documents of this tenant, or of these, as a filter on the configured field of tenants does.

        Raises
        ------
        InputError
            For `k` below 1, a query that is empty or not a string, or an invalid filter.
        """
        request = SearchRequest(
            k, filter, explain, budget, refine, query_syntax, offset, Boosts.of(boosts), Facets.of(facets), tenant
        )
        return self._one(inputs.query(query), request)

    def batch_search(self, queries: Mapping[str, str], k: int = 10, **options: Any) -> dict[str, SearchResults]:
        """Return the `k` best documents for each query, given as ``{query_id: text}``; options as for `search`.

        With encoders in float32 these are the hits of single searches. In bfloat16 scores differ by up to 0.008 with
        the batch, so that near ties may change places (docs/search.md).
        """
        if not isinstance(queries, Mapping):
            raise InputError("batch_search takes {query_id: text}; use retrieve for a list of texts")
        return dict(self.iter_search(queries, k, **options))

    def iter_search(
        self, queries: Mapping[str, str] | Iterable[tuple[str, str]], k: int = 10, **options: Any
    ) -> Iterator[tuple[str, SearchResults]]:
        """Answer a stream of queries in batches of `QUERIES_AT_ONCE`, yielding each id with its results in order.

        Parameters
        ----------
        queries
            ``{query_id: text}``, or an unbounded stream of such pairs, read one batch at a time.
        options
            As for `search`.
        """
        request = SearchRequest.of(k, options)
        pairs = queries.items() if isinstance(queries, Mapping) else inputs.listed(queries, "queries", "pairs")
        return self._answers(pairs, request)

    def _answers(self, pairs: Iterable[tuple[str, str]], request: SearchRequest) -> Iterator[tuple[str, SearchResults]]:
        for block in blocks(map(checked_pair, pairs), QUERIES_AT_ONCE):
            answers = self._answered([text for _, text in block], request)
            yield from zip([query_id for query_id, _ in block], answers, strict=True)

    def _answered(self, texts: Sequence[str], request: SearchRequest) -> list[SearchResults]:
        return self.in_one_state(lambda stages, _: stages.answer(texts, request, Trace(explain=request.explain)))

    async def asearch(self, query: str, k: int = 10, **options: Any) -> SearchResults:
        """Return the `k` best documents for one query without blocking the event loop; options as for `search`.

        At most `workers` searches run at once, in threads; the others wait. A search that is cancelled while it waits
        never runs; a running one stops before its next stage (or the reranker's next batch).
        """
        query, request, cancelled = inputs.query(query), SearchRequest.of(k, options), threading.Event()
        try:
            return await asyncio.wrap_future(self._lifetime.submit(self._workers, self._one, query, request, cancelled))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def multi_search(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        fusion: Fusion | str | Mapping[str, Any] = reciprocal_rank_fusion,
        **options: Any,
    ) -> SearchResults:
        """Return the `k` best documents for several phrasings of one query, fused.

        Parameters
        ----------
        queries
            The query first, then its rewrites: all are searched together; the reranker reads the first.
        fusion
            Fusion of their rankings, as for `open`; RRF with ``k=60`` by default. Their provenance is ``query 1``,
            ``query 2``, …
        options
            As for `search`. With ``explain=True`` each variant that found a hit gives its rank, score and share, and
            those of its legs.
        """
        request, chosen = SearchRequest.of(k, options), fusion_of(fusion)
        trace = partial(Trace, explain=request.explain)
        return self.in_one_state(lambda stages, _: answer_variants(stages, queries, request, chosen, trace()))

    def retrieve(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        filter: Any = None,
        budget: Budget | None = None,
        query_syntax: QuerySyntax | None = None,
        tenant: str | Sequence[str] | None = None,
        show_progress: bool = False,
    ) -> Hits:
        """Return the `Hits` of several queries without fetching documents, as for evaluation."""
        request = SearchRequest(k, filter, budget=budget, query_syntax=query_syntax, tenant=tenant)
        queries = inputs.texts(queries, "queries")
        for number, query in enumerate(queries):
            inputs.query(query, f"query number {number} (from 0)")

        def found(stages: Stages, _: Parts) -> Hits:
            def search(block: list[str]) -> Hits:
                trace = Trace()
                read = stages.read(block, request, trace)
                return stages.rerank(read, stages.find(read, request, trace), request, trace).top(k)

            return search_blocks(search, queries, QUERIES_AT_ONCE, "searching", show_progress)

        return self.in_one_state(found)

    def _one(self, query: str, request: SearchRequest, cancelled: threading.Event | None = None) -> SearchResults:
        trace = partial(Trace, explain=request.explain, cancelled=cancelled)
        return self.in_one_state(lambda stages, parts: answer_one(stages, parts, query, request, trace()))
