"""ServedCollection: one open collection, and the answers to searches of it."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError
from pipelines.models import LATE_INTERACTION, Models
from pipelines.search.config import SearchConfig
from pipelines.search.fusing import make_fusion
from pipelines.search.highlight import best_window, highlight
from pipelines.search.parents import ParentResults, holds_chunks, parents_of
from pipelines.search.pipeline import SearchPipeline
from pipelines.search.query_variants import answer_variants
from pipelines.search.results import SearchResult, SearchResults
from pipelines.search.stages import SearchRequest, Stages
from pipelines.service.batcher import Batch
from pipelines.service.config import CollectionEntry
from pipelines.service.errors import ServiceError
from pipelines.service.metrics import Metrics
from pipelines.service.search_body import NO_RERANKER, SearchBody
from pipelines.service.served_models import Kind, short_name
from retrieve.fusion import reciprocal_rank_fusion
from retrieve.hybrid import HybridRetriever
from retrieve.reranking.budget import Budget
from retrieve.trace import Trace

logger = logging.getLogger(__name__)

MAX_VARIANTS = 16
"""Configurations that requests have asked for, and that are kept ready."""

PARENT_POOL = 100
"""Chunks that are searched for, to find their documents."""


@dataclass(slots=True)
class _Variants:
    """Parts for requests that differ from the configured system, made over one state of the collection."""

    parts: Any
    made: dict[str, Stages] = field(default_factory=dict)
    rerankers: dict[str, Any] = field(default_factory=dict)
    chunks: bool | None = None


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
        rerankers: Mapping[str, str],
    ) -> None:
        self.name, self.entry, self._metrics = name, entry, metrics
        self._models, self._crosses = models, dict(rerankers)
        self.pipeline = SearchPipeline.open(
            entry.path, config=entry.config, on_leg_error="degrade", workers=1, models=models
        )
        self._variants: _Variants | None = None
        self._lock = threading.Lock()
        self.refreshed = time.time()

    def close(self) -> None:
        """Close the pipeline."""
        self.pipeline.close()

    def encoders(self) -> list[tuple[Kind, str, Any]]:
        """Return the models of the searched legs and of the configured reranker, with their kinds and names."""
        kinds: dict[str, Kind] = {"vectors": "dense", "weights": "sparse"}
        found: list[tuple[Kind, str, Any]] = []
        for name in self.searched:
            rows, encoder = self.pipeline.collection.manifest.legs[name].rows, self.pipeline.leg(name).encoder
            if encoder is not None and rows in kinds:
                found.append((kinds[rows], short_name(encoder.checkpoint.name), encoder))
        configured = self.config.reranker
        if configured is not None and configured.model != LATE_INTERACTION:
            cross = self._models.cross_encoder(configured.model, configured.dtype)
            found.append(("cross-encoder", short_name(configured.model), cross))
        return found

    def document(self, doc_id: str) -> Document | None:
        """Return a document; None when there is none with this id."""
        with self.pipeline.reading() as (stages, _):
            store = stages.documents
            return store.get([doc_id])[0] if doc_id in store.alive([doc_id]) else None

    def refresh(self) -> None:
        """Move searches to what was committed since, if anything was."""
        self.pipeline.refresh()
        self.refreshed = time.time()

    def follow(self) -> None:
        """Refresh if another process has committed something."""
        if self.pipeline.collection.outdated:
            self.refresh()

    @property
    def documents(self) -> int:
        """Number of documents."""
        with self.pipeline.reading() as (stages, _):
            return len(stages.documents)

    @property
    def sequence(self) -> int:
        """Number of the last write that searches see."""
        with self.pipeline.reading() as (stages, _):
            return stages_sequence(stages)

    @property
    def latest_sequence(self) -> int:
        """Number of the last committed write."""
        with closing(DocumentStore.open(self.pipeline.collection.path / "documents.sqlite")) as store:
            return store.sequence

    @property
    def chunks(self) -> bool:
        """True for a collection of chunks."""
        with self._reading(SearchBody("")) as (stages, variants, _):
            return self._chunks(variants, stages)

    @property
    def searched(self) -> list[str]:
        """Names of the legs that are searched unless a request names others."""
        with self.pipeline.reading() as (stages, _):
            return [leg.name for leg in stages.legs]

    @property
    def config(self) -> SearchConfig:
        """The configuration that searches follow unless a request says otherwise."""
        return SearchConfig.of(self.entry.config, self.entry.path)

    @property
    def rerankers(self) -> list[str]:
        """Names of the rerankers that a request may choose."""
        configured = self.config.reranker
        dense = any(leg.rows == "vectors" for leg in self.pipeline.collection.manifest.legs.values())
        names = [configured.model] if configured is not None else []
        return list(dict.fromkeys([*names, *([LATE_INTERACTION] if dense else []), *self._crosses]))

    def answer(self, key: str, batch: Batch[tuple[SearchBody, bool]]) -> list[Answer]:
        """Answer searches that differ only in their query; each item says whether its client named the deadline."""
        del key
        body = batch.items[0][0]
        budget = body.limits()
        if any(timed for _, timed in batch.items):
            budget = self._within(budget, (batch.deadline - time.monotonic()) / len(batch.items))
        with self._reading(body) as (stages, variants, cache):
            chunks = self._chunks(variants, stages) if body.parents is None else body.parents
            wanted = max(PARENT_POOL, body.wanted) if chunks else body.wanted
            if stages.reranker is None:
                if body.budget is not None:
                    raise InputError("budget limits a reranker, and this search has none: choose one with reranker")
                budget = None
            request = SearchRequest(wanted, body.filter, body.explain, budget, body.refine())
            found = self._find(stages, [item.queries for item, _ in batch.items], request, batch, cache)
            sequence = stages_sequence(stages)
            answers = []
            for (item, _), results in zip(batch.items, found, strict=True):
                parents = self._parents(item, results, stages) if chunks else None
                answers.append(Answer(results, parents, sequence))
        for results in found:
            self._metrics.searched(self.name, results.timings, results.failures)
            self._metrics.cache.labels("hit" if results.cached else "miss").inc()
            self._metrics.pairs.labels(self.name).inc(results.reranked or 0)
        return answers

    def shown(self, body: SearchBody, answer: Answer) -> dict[str, Any]:
        """Return an answer's JSON: the page that was asked for, with highlights."""
        page = slice(body.offset, body.wanted)
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
            "offset": body.offset,
            **found,
            "hits": shown,
            "cached": answer.results.cached,
            "sequence": answer.sequence,
        }

    def _mark(self, body: SearchBody, shown: Sequence[dict[str, Any]], passages: Sequence[SearchResult]) -> None:
        marked = highlight(self.pipeline, " ".join(body.queries), [passage.text for passage in passages])
        for hit, found in zip(shown, marked, strict=True):
            if body.highlight:
                hit["highlights"] = [list(span) for span in found.spans]
            if body.snippet is not None:
                start, end = best_window(found.text, found.spans, body.snippet)
                inside = [[a - start, b - start] for a, b in found.spans if start <= a and b <= end]
                cut = {"before": start > 0, "after": end < len(found.text)}
                hit["snippet"] = {"text": found.text[start:end], "start": start, "spans": inside, "cut": cut}

    def _find(
        self,
        stages: Stages,
        queries: Sequence[tuple[str, ...]],
        request: SearchRequest,
        batch: Batch[Any],
        cache: Any,
    ) -> list[SearchResults]:
        """Return the results of each query, from the cache where possible, all others searched together."""
        found: list[SearchResults | None] = [None] * len(queries)
        budget = None if request.budget is None else asdict(request.budget)
        base = (stages_sequence(stages), json.dumps(request.filter, sort_keys=True), request.k, request.explain)
        keys = [(*base, repr(request.refine), repr(budget), query) for query in queries]
        if cache is not None:
            found = [cache.get(key) for key in keys]
        missing = [at for at, results in enumerate(found) if results is None]
        phrased = [at for at in missing if len(queries[at]) > 1]
        single = [at for at in missing if len(queries[at]) == 1]
        for group in [*([at] for at in phrased), single]:
            if not group:
                continue
            trace = Trace(explain=request.explain, cancelled=batch.abandoned)
            if len(queries[group[0]]) > 1:
                answers = [answer_variants(stages, queries[group[0]], request, reciprocal_rank_fusion, trace)]
            else:
                answers = stages.answer([queries[at][0] for at in group], request, trace)
            for at, results in zip(group, answers, strict=True):
                found[at] = results
                if cache is not None and not results.degraded and not trace.out_of_time:
                    cache.put(keys[at], results)
        return [results for results in found if results is not None]

    def _parents(self, body: SearchBody, results: SearchResults, stages: Stages) -> ParentResults:
        """Return the documents of found chunks."""
        return parents_of(results, stages.documents, body.wanted)

    @contextmanager
    def _reading(self, body: SearchBody) -> Iterator[tuple[Stages, _Variants, Any]]:
        """Provide the stages that a request asks for, over one state of the collection, and the cache if it serves."""
        with self.pipeline.reading() as (stages, parts):
            with self._lock:
                if self._variants is None or self._variants.parts is not parts:
                    self._variants = _Variants(parts)
                variants = self._variants
            chosen = {
                name: getattr(body, name)
                for name in ("legs", "fusion", "depth", "reranker", "candidates")
                if getattr(body, name) is not None
            }
            if not chosen:
                yield stages, variants, parts.cache if parts.cache.size else None
                return
            key = json.dumps(chosen, sort_keys=True)
            with self._lock:
                if key not in variants.made:
                    if len(variants.made) >= MAX_VARIANTS:
                        # Its threads end once no search uses it any longer.
                        variants.made.pop(next(iter(variants.made)))
                    variants.made[key] = self._variant(stages, parts, variants, chosen)
                made = variants.made[key]
            yield made, variants, None

    def _variant(self, stages: Stages, parts: Any, variants: _Variants, chosen: Mapping[str, Any]) -> Stages:
        """Return stages with other legs, another fusion, depth or reranker than configured."""
        config, manifest = self.config, stages.snapshot.manifest
        if {"legs", "fusion", "depth"} & chosen.keys():
            names = chosen.get("legs") or [leg.name for leg in stages.legs]
            unknown = next((name for name in names if name not in manifest.legs), None)
            if unknown is not None:
                raise InputError(f"legs: there is no leg {unknown!r}; there are {', '.join(manifest.legs)}")
            leg = parts.leg or self.pipeline.leg
            legs = [leg(name) for name in names]
            stated = chosen.get("fusion", config.fusion if "legs" not in chosen else None)
            fusion = make_fusion({"method": stated} if isinstance(stated, str) else stated, legs)
            depth = chosen.get("depth", config.depth)
            hybrid = HybridRetriever(legs, fusion=fusion, depth=depth, on_leg_error="degrade")
            stages = replace(stages, retriever=hybrid if len(legs) > 1 else legs[0])
        if "reranker" in chosen:
            stages = replace(stages, reranker=self._reranker(chosen["reranker"], stages, variants))
        if "candidates" in chosen:
            if stages.reranker is None:
                raise InputError("candidates are for a reranker, and this search has none: choose one with reranker")
            stages = replace(stages, candidates=chosen["candidates"])
        return stages

    def _reranker(self, name: str, stages: Stages, variants: _Variants) -> Any:
        if name == NO_RERANKER:
            return None
        configured = self.config.reranker
        if configured is not None and name == configured.model:
            return stages.reranker
        if name not in self.rerankers:
            known = ", ".join([*self.rerankers, NO_RERANKER])
            raise InputError(f"reranker: {name!r} is not served; there are {known}")
        if name not in variants.rerankers:
            encoder = None
            if name == LATE_INTERACTION:
                legs = stages.snapshot.manifest.legs
                encoder = self.pipeline.leg(next(leg for leg in legs if legs[leg].rows == "vectors")).encoder
            variants.rerankers[name] = self._models.reranker(self._crosses.get(name, name), encoder)
        return variants.rerankers[name]

    @staticmethod
    def _chunks(variants: _Variants, stages: Stages) -> bool:
        if variants.chunks is None:
            variants.chunks = holds_chunks(stages.snapshot)
        return variants.chunks

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
