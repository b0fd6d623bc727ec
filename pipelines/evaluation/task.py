"""Score all systems on one dataset: each leg is searched once, and fusions are computed from its hits."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing.collection.store import DocumentStore
from indexing.disk import write_json
from indexing.errors import InputError
from indexing.hits import Hits, string_array
from indexing.json_text import parse_json
from indexing.plurals import counted
from indexing.runs import read_trec_run, write_trec_run
from pipelines.evaluation.cost import forget_peak, peak_megabytes, percentiles, time_searches
from pipelines.evaluation.external_runs import hits_of_run
from pipelines.evaluation.legs import LegSource, OpenLeg, Say, reranker_bytes, reranker_identity, system_reranker
from pipelines.evaluation.mteb import write_mteb
from pipelines.evaluation.pool import best_order, unjudged_rate
from pipelines.evaluation.published import published_figures
from pipelines.evaluation.result_cache import keep, kept, kept_hits, key_of
from pipelines.evaluation.systems import Plan, System
from pipelines.measures import DEFAULT_MEASURES
from pipelines.measures.evaluate import evaluate
from pipelines.measures.qrels import Qrels
from pipelines.models import Models
from pipelines.package_versions import package_version
from pipelines.search import SearchPipeline
from pipelines.search.fusing import make_fusion
from pipelines.search.judged_parents import CHUNKS, Parents
from retrieve.hybrid import HybridRetriever

CACHE_FORMAT = 3
"""Version of the cached answers; to be raised when the same system answers differently."""

UNJUDGED_DEPTH = 10
_FILES = ("run", "per_query")
PACKAGES = ("retrieve-rerank", "torch", "transformers", "faiss-cpu", "pyserini", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of all datasets and systems.

    Parameters
    ----------
    k
        Number of hits per query that are scored and stored.
    measures
        Names as in ir-measures.
    timing
        Time single searches.
    show_progress
        Show progress bars.
    """

    k: int = 100
    measures: Sequence[str] = DEFAULT_MEASURES
    timing: bool = True
    show_progress: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """A dataset and its legs.

    Parameters
    ----------
    name, split
        Names in the results file.
    queries, qrels
        As in an `EvaluationSet`.
    documents
        Number of documents that can be searched.
    checks
        Counts of the dataset's checks, by name.
    legs
        Source of the legs.
    drop_self_hits
        Remove hits whose id is their query's, before fusion and reranking.
    parents
        The documents that can be searched are chunks, and the judgements are of their parents.
    comparable
        These are the queries and judgements of a public dataset, of the split that is usually scored.
    """

    name: str
    split: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    documents: int
    legs: LegSource
    checks: Mapping[str, int] = field(default_factory=dict)
    drop_self_hits: bool = False
    parents: bool = False
    comparable: bool = False


def run_task(
    task: Task,
    plan: Plan,
    output: Path,
    models: Models,
    settings: Settings,
    *,
    imported: Mapping[str, Path] | None = None,
    say: Say,
) -> dict[str, Any]:
    """Score every system on one dataset, reusing answers that are cached under the same key.

    Writes ``runs/<dataset>/<system>.trec``, ``per_query/<dataset>/<system>.json``, ``mteb/<system>/<task>.json`` and
    ``state/<dataset>/``.

    Returns
    -------
    dict
        The dataset's entry in results.json.
    """
    runner = _Runner(task, plan, output, models, settings, say)
    systems: dict[str, Any] = {}
    for system in plan.systems:
        systems[system.name] = runner.run(system)
    for name, path in (imported or {}).items():
        systems[name] = runner.score_import(name, path)
    _remove_others(output, task.name, systems, (imported or {}).values())
    return {
        "split": task.split,
        "documents": task.documents,
        "queries": len(task.queries),
        "self_hits_dropped": task.drop_self_hits,
        "checks": dict(task.checks),
        "systems": systems,
        "not_run": dict(plan.not_run),
    }


def _remove_others(output: Path, dataset: str, systems: Mapping[str, Any], sources: Iterable[Path]) -> None:
    """Remove the runs that an earlier call wrote and these results lack; their cached answers stay.

    Only files within the folder that its results.json names are removed, and no run that was imported now.
    """
    try:
        before = parse_json((output / "results.json").read_text("utf-8"))["datasets"][dataset]["systems"]
        named = [row[kind] for name, row in before.items() if name not in systems for kind in _FILES if row[kind]]
        files = [(output / name).resolve() for name in named]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    kept = {path.resolve() for path in sources}
    for file in files:
        if file.is_relative_to(output.resolve()) and file not in kept:
            with suppress(OSError):  # a name that no file can have, or a folder's
                file.unlink()


def without_self_hits(hits: Hits, query_ids: Sequence[str]) -> Hits:
    """Return the hits without those whose doc_id is the id of their query."""
    own = string_array(query_ids)[hits.rows]
    return hits.where((hits.ids[hits.codes] != own).astype(np.bool_))


class _Runner:
    """Runs the systems of one task, holding the hits of its legs in memory."""

    def __init__(self, task: Task, plan: Plan, output: Path, models: Models, settings: Settings, say: Say) -> None:
        self.task, self.plan, self.models, self.settings, self.say = task, plan, models, settings, say
        self.output, self.state = output, output / "state" / task.name
        self.query_ids, self.texts = list(task.queries), list(task.queries.values())
        self.qrels = Qrels.from_dict(task.qrels)
        self.found: dict[str, tuple[int, Hits, float]] = {}
        # Several chunks make one document, so more of them than of documents are searched for.
        self.k = max(settings.k, CHUNKS) if task.parents else settings.k

    def run(self, system: System) -> dict[str, Any]:
        """Return the row of one system, from its cached answer if there is one."""
        legs = {name: self.task.legs.open(self.plan.legs[name], system) for name in system.legs}
        path, pool_path = (self.state / kind / f"{system.name}.json" for kind in ("systems", "pools"))
        key = key_of(self._determines(system, legs))
        record, hits = _kept_answer(path, key)
        reranker = system.config.reranker
        pool = _kept_answer(pool_path, key)[1] if reranker else hits
        if record is None or hits is None or pool is None:
            self.say(f"{self.task.name}: {system.name}: {counted(len(self.texts), 'query')}")
            record, hits, pool = self._answer(system, legs)
            if reranker:
                keep(pool_path, key, {}, pool)
            keep(path, key, record, hits)
        else:
            self.say(f"{self.task.name}: {system.name}: done before")
        store = legs[system.legs[0]].collection.documents
        row = self._row(system.name, self._judged(hits, store), record["cost"])
        if reranker:
            read = self._judged(pool.top(reranker.candidates), store) if self.task.parents else pool
            best = best_order(read, self.qrels, self.query_ids, reranker.candidates).top(self.settings.k)
            row["ceiling"] = self._means(best)
        built = {name: asdict(self.plan.legs[name]) | {"encoder": legs[name].encoder_record} for name in system.legs}
        row["configuration"] = {"name": system.name, **system.config.as_dict(), "legs": built}
        if self.task.comparable and (known := published_figures(self.task.name, system, legs)):
            row["published"] = known
        return row

    def _judged(self, hits: Hits, store: DocumentStore) -> Hits:
        """Return the hits that are judged: the documents, or the parents of chunks."""
        if not self.task.parents:
            return hits
        parents = Parents.in_hits(store, [hits]).judge(hits)
        return (without_self_hits(parents, self.query_ids) if self.task.drop_self_hits else parents).top(
            self.settings.k
        )

    def score_import(self, name: str, path: Path) -> dict[str, Any]:
        """Return the row of an imported run."""
        run = read_trec_run(path)
        strange = [query_id for query_id in self.query_ids if query_id not in run]
        if len(strange) == len(self.query_ids):
            raise InputError(
                f"{path} answers none of the {counted(len(strange), 'query')} of {self.task.name}: is it "
                "another dataset's?"
            )
        if strange:
            self.say(f"{self.task.name}: {name}: {path} lacks {len(strange)} of the queries: they score 0")
        return {**self._row(name, hits_of_run(run, self.query_ids), {}), "imported": path.name}

    def _determines(self, system: System, legs: Mapping[str, OpenLeg]) -> dict[str, Any]:
        return {
            **self._common(),
            "k": self.k,
            "timing": self.settings.timing,
            "system": system.determines,
            "legs": [legs[name].determines for name in system.legs],
            "reranker": reranker_identity(system, self.models, legs),
        }

    def _common(self) -> dict[str, Any]:
        return {
            "format": CACHE_FORMAT,
            "packages": {name: package_version(name) for name in PACKAGES},
            "queries": key_of(dict(self.task.queries)),
            "order": key_of({"ids": self.query_ids}),
            "drop_self_hits": self.task.drop_self_hits,
        }

    def _answer(self, system: System, legs: Mapping[str, OpenLeg]) -> tuple[dict[str, Any], Hits, Hits]:
        watched = forget_peak()
        cost: dict[str, Any] = {}
        if self.settings.timing:
            cost |= self._time(system, legs)
        k, config = self.k, system.config
        first_stage, spent, waited = system.first_stage(k), {}, 0.0

        def answers(depths: Mapping[str, int]) -> list[Hits]:
            nonlocal waited
            start, found = time.perf_counter(), []
            for name in system.legs:
                hits, depth, seconds = self._leg_hits(legs[name], depths[name])
                spent[name, depth] = seconds
                found.append(hits)
            waited += time.perf_counter() - start
            return found

        start = time.perf_counter()
        if len(system.legs) == 1:
            pool = answers(system.leg_depths(k))[0].as_leg(system.legs[0])
        else:
            retrievers = [legs[name].retriever for name in system.legs]
            fusion = make_fusion(config.fusion, retrievers)
            with HybridRetriever(retrievers, fusion=fusion, depth=system.leg_depths(k)) as hybrid:
                pool = hybrid.fuse(legs[system.legs[0]].read(self.texts), first_stage, answers)
        pool = hits = pool.top(first_stage)
        reranker = system_reranker(system, legs, self.models)
        if reranker is not None and config.reranker is not None:
            hits = reranker.rerank(
                legs[system.legs[0]].read(self.texts),
                pool,
                legs[system.legs[0]].collection.documents,
                depth=config.reranker.candidates,
                budget=replace(config.reranker.budget, top=k),
                show_progress=self.settings.show_progress,
            )
        cost |= {
            "query_s": round(sum(spent.values()) + time.perf_counter() - start - waited, 3),
            "encode_s": _sum(legs[name].encode_s for name in system.legs),
            "build_s": _sum(legs[name].build_s for name in system.legs),
            "index_bytes": sum(legs[name].index_bytes for name in system.legs) + reranker_bytes(system, legs),
            "peak_mb": peak_megabytes() if watched else None,
        }
        return {"cost": cost}, hits.top(k), pool

    def _leg_hits(self, leg: OpenLeg, depth: int) -> tuple[Hits, int, float]:
        """Return a leg's hits, and the depth and seconds of their search; an exact leg is searched once, deepest."""
        wanted = depth
        if leg.exact:
            using = (system for system in self.plan.systems if leg.name in system.legs)
            wanted = max(depth, *(system.deepest(self.k) for system in using))
        name = leg.cache_name
        if name not in self.found or not self._serves(leg, self.found[name][0], depth):
            path = self.state / "legs" / (f"{name}.json" if leg.exact else f"{name}@{depth}.json")
            key = key_of({**self._common(), "leg": leg.determines})
            record, hits = _kept_answer(path, key)
            if record is None or hits is None or not self._serves(leg, record["depth"], depth):
                start = time.perf_counter()
                extra = int(self.task.drop_self_hits)
                hits = leg.search(self.texts, wanted + extra, show_progress=self.settings.show_progress)
                if extra:
                    hits = without_self_hits(hits, self.query_ids).top(wanted)
                record = {"depth": wanted, "seconds": time.perf_counter() - start}
                keep(path, key, record, hits)
            self.found[name] = (record["depth"], hits, record["seconds"])
        searched, hits, seconds = self.found[name]
        return hits.top(depth), searched, seconds

    @staticmethod
    def _serves(leg: OpenLeg, found: int, wanted: int) -> bool:
        return found >= wanted if leg.exact else found == wanted

    def _time(self, system: System, legs: Mapping[str, OpenLeg]) -> dict[str, float]:
        """Return percentiles of the time of single searches through a `SearchPipeline`."""
        config, k = system.config, self.k
        retrievers = [legs[name].retriever for name in system.legs]
        retriever, hybrid = retrievers[0], None
        if len(retrievers) > 1:
            fusion = make_fusion(config.fusion, retrievers)
            retriever = hybrid = HybridRetriever(retrievers, fusion=fusion, depth=system.leg_depths(k))
        options: dict[str, Any] = {}
        if config.reranker is not None:
            options = {"candidates": config.reranker.candidates, "budget": config.reranker.budget}
        reranker = system_reranker(system, legs, self.models)
        first = legs[system.legs[0]]
        try:
            pipeline = SearchPipeline(retriever, first.collection, reranker=reranker, **options)
            spent = time_searches(
                lambda text: pipeline.retrieve(first.read([text]), k, filter=first.filter),
                self.texts,
                show_progress=self.settings.show_progress,
            )
        finally:
            if hybrid is not None:
                hybrid.close()
        return percentiles(spent)

    def _row(self, name: str, hits: Hits, cost: Mapping[str, Any]) -> dict[str, Any]:
        """Score an answer, write its files, and return its entry in the results."""
        scores = evaluate(hits, self.qrels, self.settings.measures, queries=self.query_ids)
        run = Path("runs") / self.task.name / f"{name}.trec"
        per_query = Path("per_query") / self.task.name / f"{name}.json"
        row: dict[str, Any] = {
            "measures": scores.means,
            "cost": dict(cost),
            f"unjudged@{UNJUDGED_DEPTH}": unjudged_rate(hits, self.qrels, self.query_ids, UNJUDGED_DEPTH),
            "run": str(run),
            "per_query": str(per_query),
        }
        try:
            write_trec_run(self.output / run, hits, self.query_ids, tag=name)
        except InputError as error:
            self.say(f"{run} is not written: {error}")
            (self.output / run).unlink(missing_ok=True)
            row["run"] = None
        (self.output / per_query).parent.mkdir(parents=True, exist_ok=True)
        values = {measure: found.tolist() for measure, found in scores.per_query.items()}
        write_json(self.output / per_query, {"query_ids": list(scores.query_ids), "measures": values})
        write_mteb(self.output / "mteb" / name, self.task.name, self.task.split, hits, self.qrels, self.query_ids)
        return row

    def _means(self, hits: Hits) -> dict[str, float]:
        return evaluate(hits, self.qrels, self.settings.measures, queries=self.query_ids).means


def _kept_answer(path: Path, key: str) -> tuple[dict[str, Any] | None, Hits | None]:
    """Return the record and hits that are cached under this key; None for what is missing."""
    record = kept(path, key)
    return record, None if record is None else kept_hits(path)


def _sum(values: Any) -> float | None:
    found = list(values)
    return None if None in found else round(sum(found), 3)
