"""ServedCollection: one open collection, and the answers to searches of it."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError
from pipelines.models import LATE_INTERACTION, Models
from pipelines.search.cache import AnswerCache
from pipelines.search.config import SearchConfig
from pipelines.search.following import Parts
from pipelines.search.highlight import best_window, highlight
from pipelines.search.judged_parents import stored_document
from pipelines.search.parents import CHUNK_POOL, ParentResults, holds_chunks, parents_of
from pipelines.search.pipeline import SearchPipeline
from pipelines.search.query_variants import answer_variants
from pipelines.search.results import SearchResult, SearchResults
from pipelines.search.stages import SearchRequest, Stages
from pipelines.search.tenants import with_tenant
from pipelines.service.batcher import Batch
from pipelines.service.callers import Caller
from pipelines.service.config import CollectionEntry, ModelEntry
from pipelines.service.errors import ServiceError
from pipelines.service.metrics import Metrics
from pipelines.service.search_body import SearchBody
from pipelines.service.served_models import Kind, short_name
from pipelines.service.variants import Variants
from retrieve.fusion import reciprocal_rank_fusion
from retrieve.remote.endpoint import is_url
from retrieve.reranking.budget import Budget
from retrieve.trace import Trace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    """One state of the collection: its search systems, and whether its documents are chunks."""

    variants: Variants
    chunks: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one search, and the state of the collection that it comes from."""

    results: SearchResults
    parents: ParentResults | None
    sequence: int


class ServedCollection:
    """An open collection under its name; any number of threads may call it.

    Parameters
    ----------
    rerankers
        Cross-encoders that a request may choose, by name, beside the configured one and late interaction.
    """

    def __init__(
        self,
        name: str,
        entry: CollectionEntry,
        *,
        models: Models,
        metrics: Metrics,
        rerankers: Mapping[str, ModelEntry],
    ) -> None:
        self.name, self.entry, self._metrics = name, entry, metrics
        self._models, self._crosses = models, dict(rerankers)
        self.pipeline = SearchPipeline.open(
            entry.path, config=entry.config, on_leg_error="degrade", workers=1, models=models
        )
        self._state: _State | None = None
        self._lock = threading.Lock()
        self.refreshed = time.time()

    def close(self) -> None:
        """Close the pipeline."""
        self.pipeline.close()

    def encoders(self) -> list[tuple[Kind, str, Any]]:
        """Return the models of the searched legs and of the configured reranker, with their kinds and names.

        Functions and models behind a URL are left out: their own servers answer for them.
        """
        kinds: dict[str, Kind] = {"vectors": "dense", "weights": "sparse"}
        found: list[tuple[Kind, str, Any]] = []
        for name in self.searched:
            rows, encoder = self.pipeline.collection.manifest.legs[name].rows, self.pipeline.leg(name).encoder
            if rows in kinds and hasattr(encoder, "checkpoint"):
                found.append((kinds[rows], short_name(encoder.checkpoint.name), encoder))
        configured = self.config.reranker
        if configured is not None and configured.model != LATE_INTERACTION and not is_url(configured.model):
            cross = self._models.cross_encoder(configured.model, configured.dtype)
            found.append(("cross-encoder", short_name(configured.model), cross))
        return found

    def document(self, doc_id: str, caller: Caller) -> Document | None:
        """Return a document that a caller sees; None when there is none with this id."""
        with self.pipeline.reading() as (stages, _):
            return stored_document(stages.documents, doc_id, lambda part: caller.sees(part, stages.tenants))

    def count(self, caller: Caller) -> int:
        """Return the number of documents that a caller sees."""
        with self.pipeline.reading() as (stages, _):
            if caller.tenants is None:
                return len(stages.documents)
            return stages.snapshot.count(with_tenant(None, caller.tenants, stages.tenants, stages.snapshot))

    def refresh(self) -> None:
        """Move searches to what was committed since, if anything was."""
        self.pipeline.refresh()
        self.refreshed = time.time()

    def follow(self) -> None:
        """Refresh if another process has committed something, or has written the search configuration."""
        if self.pipeline.outdated:
            self.refresh()

    @property
    def documents(self) -> int:
        """Number of documents."""
        with self.pipeline.reading() as (stages, _):
            return len(stages.documents)

    @property
    def tenants(self) -> str | None:
        """The field that names a document's tenants; None where nothing declares one."""
        return self.pipeline.tenants

    @property
    def sequence(self) -> int:
        """Number of the last write that searches see."""
        with self.pipeline.reading() as (stages, _):
            return stages_sequence(stages)

    @property
    def latest_sequence(self) -> int:
        """Number of the last committed write."""
        if not self.pipeline.collection.outdated:
            return self.sequence
        with closing(DocumentStore.open(self.pipeline.collection.path / "documents.sqlite")) as store:
            return store.sequence

    @property
    def chunks(self) -> bool:
        """True for a collection of chunks."""
        with self._reading() as (_, _, state):
            return state.chunks

    @property
    def searched(self) -> list[str]:
        """Names of the legs that are searched unless a request names others."""
        with self.pipeline.reading() as (stages, _):
            return [leg.name for leg in stages.legs]

    @property
    def config(self) -> SearchConfig:
        """The configuration that searches follow unless a request says otherwise."""
        with self._reading() as (_, _, state):
            return state.variants.config

    @property
    def rerankers(self) -> list[str]:
        """Names of the rerankers that a request may choose."""
        with self._reading() as (stages, _, state):
            return state.variants.rerankers(stages.snapshot.manifest)

    def answer(self, key: str, batch: Batch[tuple[SearchBody, bool]]) -> list[Answer]:
        """Answer searches that differ only in their query; each item says whether its client named the deadline."""
        del key
        body = batch.items[0][0]
        budget = body.limits()
        if any(timed for _, timed in batch.items):
            budget = self._within(budget, (batch.deadline - time.monotonic()) / len(batch.items))
        with self._reading() as (configured, parts, state):
            stages = state.variants.stages(configured, body)
            cache = parts.cache if stages is configured else None
            chunks = state.chunks if body.parents is None else body.parents
            wanted = max(CHUNK_POOL, body.wanted) if chunks else body.wanted
            if stages.reranker is None:
                if body.budget is not None:
                    raise InputError("budget limits a reranker, and this search has none: choose one with reranker")
                budget = None
            refine = body.refine()
            if chunks and refine is not None:
                refine = refine.among(wanted)
            # The page is cut from this answer.
            page = None if body.offset is None else 0
            request = SearchRequest(
                wanted,
                body.filter,
                body.explain,
                budget,
                refine,
                body.query_syntax,
                page,
                body.boosts,
                body.counted(),
                body.tenant,
            )
            found = self._find(stages, [item.queries for item, _ in batch.items], request, batch, cache)
            sequence = stages_sequence(stages)
            parents = [parents_of(one, stages, body.wanted, 0, body.tenant) if chunks else None for one in found]
            answers = [Answer(*both, sequence) for both in zip(found, parents, strict=True)]
        for results in found:
            self._metrics.searched(self.name, results.timings, results.failures)
            self._metrics.cache.labels("hit" if results.cached else "miss").inc()
            self._metrics.pairs.labels(self.name).inc(results.reranked or 0)
        return answers

    def shown(self, body: SearchBody, answer: Answer) -> dict[str, Any]:
        """Return an answer's JSON: the page that was asked for, with highlights."""
        page = slice(body.offset or 0, body.wanted)
        if answer.parents is None:
            hits: list[Any] = list(answer.results[page])
            passages: list[SearchResult] = hits
        else:
            hits = list(answer.parents[page])
            passages = [hit.passages[0] for hit in hits]
        shown = [hit.as_dict() for hit in hits]
        if body.highlight or body.snippet is not None:
            self._mark(body, shown, passages)
        if not body.text:
            for hit in shown:
                hit.pop("text", None)
                for passage in hit.get("passages", ()):
                    passage.pop("text", None)
        found = answer.results.as_dict()
        return {
            "collection": self.name,
            "query": body.query if isinstance(body.query, str) else list(body.query),
            "k": body.k,
            "offset": body.offset or 0,
            **found,
            "hits": shown,
            "cached": answer.results.cached,
            "sequence": answer.sequence,
        }

    def _mark(self, body: SearchBody, shown: Sequence[dict[str, Any]], passages: Sequence[SearchResult]) -> None:
        marked = highlight(
            self.pipeline,
            " ".join(body.queries),
            [passage.text for passage in passages],
            query_syntax=body.query_syntax,
        )
        for hit, found in zip(shown, marked, strict=True):
            if body.highlight:
                hit["highlights"] = [list(span) for span in found.spans]
            if body.snippet is not None:
                start, end = best_window(found.text, found.spans, body.snippet)
                inside = [[a - start, b - start] for a, b in found.spans if start <= a and b <= end]
                cut = {"before": start > 0, "after": end < len(found.text)}
                hit["snippet"] = {"text": found.text[start:end], "start": start, "spans": inside, "cut": cut}

    @staticmethod
    def _find(
        stages: Stages,
        queries: Sequence[tuple[str, ...]],
        request: SearchRequest,
        batch: Batch[Any],
        cache: AnswerCache | None,
    ) -> list[SearchResults]:
        """Return the results of each query, from the cache where possible, all others searched together.

        A query of several phrasings comes alone.
        """
        base = stages_sequence(stages), *request.key
        found = [None if cache is None else cache.get((*base, phrasings)) for phrasings in queries]
        missing = [at for at, results in enumerate(found) if results is None]
        trace = Trace(explain=request.explain, cancelled=batch.abandoned)
        answers: Sequence[SearchResults] = []
        if missing and len(queries[0]) > 1:
            answers = [answer_variants(stages, queries[0], request, reciprocal_rank_fusion, trace)]
        elif missing:
            answers = stages.answer([queries[at][0] for at in missing], request, trace)
        for at, results in zip(missing, answers, strict=True):
            found[at] = results
            if cache is not None and not results.degraded and not trace.out_of_time:
                cache.put((*base, queries[at]), results)
        return [results for results in found if results is not None]

    @contextmanager
    def _reading(self) -> Iterator[tuple[Stages, Parts, _State]]:
        """Provide one state of the collection, which stays open inside the block."""
        with self.pipeline.reading() as (stages, parts):
            with self._lock:
                if self._state is None or self._state.variants.parts is not parts:
                    self._state = _State(Variants(parts, self._crosses), holds_chunks(stages.snapshot))
                state = self._state
            yield stages, parts, state

    @staticmethod
    def _within(budget: Budget | None, seconds: float) -> Budget:
        """Return a budget that also ends within these seconds."""
        if seconds <= 0:
            raise ServiceError(504, "the deadline passed before the search began", "allow more time")
        budget = budget or Budget()
        return replace(budget, max_ms=min(budget.max_ms or float("inf"), 1000 * seconds))


def stages_sequence(stages: Stages) -> int:
    """Return the number of the last write that a state of the collection has."""
    return stages.documents.sequence
