"""Tuning of a reranker's weight: the first stage's share of the final score, chosen from judged queries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.plurals import counted
from pipelines.measures.evaluate import evaluate
from pipelines.search.config import update_search_file
from pipelines.search.judged_parents import Parents, judges_parents
from pipelines.tuning.fusion import FOLDS, Choice, Interval, bootstrap, held_out
from retrieve.reranking.base import reweighted

if TYPE_CHECKING:
    from pipelines.search import RerankerConfig
    from retrieve.encoders import DenseEncoder, SparseEncoder

WEIGHTS = tuple(at / 10 for at in range(11))
"""From the reranker alone to the first stage alone."""


@dataclass(frozen=True, slots=True)
class WeightReport:
    """Result of tuning a reranker's weight.

    Parameters
    ----------
    measure, queries
        The measure, and the number of queries.
    model, candidates
        The reranker, and the number of hits that it read per query.
    by_weight
        The mean at each of `WEIGHTS`: at 0 the reranker alone, at 1 the first stage alone.
    now
        The weight that searches use now; None when they do not rerank.
    chosen
        The best weight over all queries.
    held_out
        The mean on held-out queries (cross-validation).
    over_first_stage, over_now
        The held-out gain over the first stage alone, and over the present searches, with 95% intervals.
    fingerprint
        That of a reranker behind a URL.
    """

    measure: str
    queries: int
    model: str
    candidates: int
    by_weight: Mapping[float, float]
    now: float | None
    chosen: float
    held_out: float
    over_first_stage: Interval
    over_now: Interval
    fingerprint: Sequence[float] | None = None

    @property
    def is_gain(self) -> bool:
        """True when the interval of the held-out gain over the present searches lies above zero."""
        return self.over_now.low > 0

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        by_weight = [{"weight": weight, "mean": mean} for weight, mean in self.by_weight.items()]
        return {**asdict(self), "by_weight": by_weight, "is_gain": self.is_gain}

    def __str__(self) -> str:
        now = "no reranker" if self.now is None else f"weight {self.now:g}"
        lines = [
            f"{self.measure} over {counted(self.queries, 'query')}, {counted(self.candidates, 'candidate')} "
            f"read by {self.model}",
            "",
        ]
        for weight, mean in self.by_weight.items():
            what = {0.0: "the reranker alone", 1.0: "the first stage alone"}.get(weight, "")
            lines.append(f"  weight {weight:<25g}{mean:.4f}   {what}".rstrip())
        lines += [
            f"  {'tuned, on held-out queries':<32}{self.held_out:.4f}   weight {self.chosen:g} on all",
            "",
            f"  gain over the first stage       {self.over_first_stage}  (95%, bootstrap over queries)",
            f"  {f'gain over now ({now})':<31} {self.over_now}",
            "",
        ]
        if self.is_gain:
            return "\n".join([*lines, "A gain: the interval over now lies above zero."])
        verdict = "Worse than now" if self.over_now.high < 0 else "No gain that these queries can show"
        return "\n".join([*lines, f"{verdict}: the interval over now does not lie above zero."])


def tune_weight(
    directory: str | Path,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    model: str,
    *,
    candidates: int | None = None,
    first_stage: Choice | None = None,
    measure: str = "ndcg@10",
    folds: int = FOLDS,
    seed: int = 0,
    dense: "str | DenseEncoder | None" = None,
    sparse: "str | SparseEncoder | None" = None,
    show_progress: bool = True,
) -> WeightReport:
    """Choose the first stage's share of the final score; the reranker reads each candidate once.

    Parameters
    ----------
    directory
        A collection.
    queries, qrels
        ``{query_id: text}``, and ``{query_id: {doc_id: grade}}`` for them.
    model
        As for `SearchPipeline.open`'s ``reranker``.
    candidates
        Number of hits that it reads; by default that of the collection's configuration, else 50.
    first_stage
        Fusion and depth; by default those of the collection's configuration.
    measure, folds, seed
        As for `pipelines.tuning.fusion.tune`.
    dense, sparse
        As for `SearchPipeline.open`.
    """
    from pipelines.search import CONFIGURED, SearchConfig, SearchPipeline
    from pipelines.search.opening import with_fingerprint

    config = SearchConfig.of_collection(directory)
    second = reranker_of(config.reranker, model, candidates)
    given: dict[str, Any] = {"fusion": first_stage.fusion, "depth": first_stage.depth} if first_stage else {}
    reading = replace(second, max_pairs=None, max_ms=None, early_exit=None)
    judged = {query_id: grades for query_id, grades in qrels.items() if query_id in queries and grades}
    texts = [queries[query_id] for query_id in judged]
    with SearchPipeline.open(
        directory, config=replace(config, reranker=reading), reranker=CONFIGURED, dense=dense, sparse=sparse, **given
    ) as pipeline:
        store = pipeline.collection.documents
        by_parents = judges_parents(store, judged, directory)
        hits = pipeline.retrieve(texts, second.candidates, show_progress=show_progress)
        parents = Parents.in_hits(store, [hits]) if by_parents else None
        used = config.reranker is not None and config.reranker.model == model
        now = None
        if used and pipeline.reranker is not None:
            now = pipeline.reranker.weight_for(pipeline.collection.documents)
        known = with_fingerprint(second, pipeline.reranker)
    tried = list(WEIGHTS) if now is None or now in WEIGHTS else [*WEIGHTS, now]
    values = np.stack(
        [
            evaluate(
                reweighted(hits, weight) if parents is None else parents.judge(reweighted(hits, weight)),
                judged,
                [measure],
                queries=list(judged),
            ).per_query[measure]
            for weight in tried
        ]
    )
    unseen = held_out(values, folds=folds, seed=seed)
    first = values[tried.index(1.0)]
    return WeightReport(
        measure=measure,
        queries=len(judged),
        model=model,
        candidates=second.candidates,
        by_weight={weight: float(values[tried.index(weight)].mean()) for weight in sorted(tried)},
        now=now,
        chosen=tried[int(values.mean(axis=1).argmax())],
        held_out=float(unseen.mean()),
        over_first_stage=bootstrap(unseen - first, seed=seed),
        over_now=bootstrap(unseen - (first if now is None else values[tried.index(now)]), seed=seed),
        fingerprint=None if known is None else known.fingerprint,
    )


def write_weight(directory: str | Path, report: WeightReport) -> Path:
    """Write the tuned reranker to a collection's ``search.yaml``, atomically; its other keys stay."""
    from pipelines.search import SearchConfig

    config = SearchConfig.of_collection(directory)
    second = reranker_of(config.reranker, report.model, report.candidates)
    second = replace(second, weight=report.chosen, fingerprint=report.fingerprint)
    return update_search_file(directory, {"reranker": replace(config, reranker=second).as_dict()["reranker"]})


def reranker_of(stated: "RerankerConfig | None", model: str, candidates: int | None) -> "RerankerConfig":
    """Return the configuration of this reranker, with the stated options if they are of the same model."""
    from pipelines.search import RerankerConfig

    second = stated if stated is not None and stated.model == model else RerankerConfig(model)
    return second if candidates is None else replace(second, candidates=candidates)
