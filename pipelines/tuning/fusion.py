"""Tuning: which fusion serves a collection best, by judged queries, and whether it is a gain at all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.measures.evaluate import evaluate
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Qrels
from pipelines.measures.significance import SAMPLES, bootstrap_interval
from pipelines.search.config import SearchConfig, update_search_file
from pipelines.search.fusing import with_method
from retrieve.fusion import FusionMethod, fusion_from_config
from retrieve.fusion.pool import Pool, ordered_sum

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder

DEPTHS = (50, 100, 200)
UNTUNED_DEPTH = 100
FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class LegRuns:
    """What each leg answered to the queries: all that tuning reads, however many fusions it tries.

    `answers` holds one `Hits` a leg, named by its provenance; row ``i`` answers ``query_ids[i]``. `untuned` is the
    fusion that these legs have where nothing was chosen.
    """

    query_ids: tuple[str, ...]
    answers: tuple[Hits, ...]
    untuned: Mapping[str, Any] = field(default_factory=lambda: {"method": "weighted-sum"})

    @property
    def names(self) -> list[str]:
        """The legs' names."""
        return [next(iter(hits.legs)) for hits in self.answers]

    def top(self, depth: int) -> tuple[Hits, ...]:
        """Give the answers as if each leg had been asked for `depth` hits."""
        return tuple(hits.top(depth).as_leg(name) for hits, name in zip(self.answers, self.names, strict=True))


@dataclass(frozen=True, slots=True)
class Choice:
    """A fusion (as `fusion_from_config` reads it) of this many hits a leg."""

    fusion: Mapping[str, Any]
    depth: int

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.fusion.items() if name != "method")
        name = self.fusion.get("method") or self.fusion.get("like")
        return f"{name} ({options}), depth {self.depth}" if options else f"{name}, depth {self.depth}"


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the interval in which bootstrap samples of the queries leave it."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What tuning found.

    Parameters
    ----------
    measure, queries, tried
        What was measured, over how many queries, for how many choices.
    legs, default, held_out, seen
        Means: of each leg alone; of the untuned choice; of tuning on queries it did not see; and of the final choice
        on the queries it was chosen by, which flatters it.
    over_default, over_best_leg
        The held-out gain over the untuned choice and over the best single leg, with 95% intervals over the queries.
    untuned, chosen
        The choice before, and the best over all queries.
    """

    measure: str
    queries: int
    tried: int
    legs: Mapping[str, float]
    default: float
    held_out: float
    seen: float
    over_default: Interval
    over_best_leg: Interval
    untuned: Choice
    chosen: Choice

    @property
    def is_gain(self) -> bool:
        """Whether tuning is better than not tuning beyond what the choice of queries could do."""
        return self.over_default.low > 0

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {**asdict(self), "is_gain": self.is_gain}

    def __str__(self) -> str:
        best = max(self.legs, key=self.legs.__getitem__)
        lines = [f"{self.measure} over {self.queries} queries; {self.tried} fusions tried on one run of each leg", ""]
        lines += [f"  {name + ' alone':<32}{mean:.4f}" for name, mean in self.legs.items()]
        lines += [
            f"  {'untuned':<32}{self.default:.4f}   {self.untuned}",
            f"  {'tuned, on queries it did not see':<32}{self.held_out:.4f}",
            f"  {'tuned, on those it saw':<32}{self.seen:.4f}   {self.chosen}",
            "",
            f"  gain over untuned     {self.over_default}  (95%, bootstrap over queries)",
            f"  gain over {best + ' alone':<12}{self.over_best_leg}",
            "",
        ]
        if self.is_gain:
            return "\n".join([*lines, "A gain: the interval over untuned lies above zero."])
        verdict = "worse" if self.over_default.high < 0 else "no gain that these queries can show"
        return "\n".join([*lines, f"Tuning is {verdict}: the interval over untuned does not lie above zero."])


def run_legs(
    directory: str | Path,
    queries: Mapping[str, str],
    *,
    legs: Sequence[str] | None = None,
    depth: int = max(DEPTHS),
    dense: "str | DenseEncoder | None" = None,
    sparse: "str | SparseEncoder | None" = None,
    show_progress: bool = True,
) -> LegRuns:
    """Ask each leg of a collection, once.

    Parameters
    ----------
    directory
        A collection.
    queries
        ``{query_id: text}``.
    legs
        Names of legs, all by default; at least two.
    depth
        How many hits of each are kept.
    dense, sparse
        As for `SearchPipeline.open`.
    """
    from indexing.collection.manifest import read_manifest
    from pipelines.search import SearchPipeline
    from pipelines.search.fusing import make_fusion

    names = list(legs) if legs is not None else list(read_manifest(Path(directory)).legs)
    if len(names) < 2:
        raise InputError(f"{directory} has the leg {', '.join(names)} only: there is nothing to fuse, nothing to tune")
    answers, retrievers = [], []
    for name in names:
        with SearchPipeline.open(directory, legs=[name], dense=dense, sparse=sparse) as pipeline:
            hits = pipeline.retrieve(list(queries.values()), depth, show_progress=show_progress)
        answers.append(hits.as_leg(name))
        retrievers.append(pipeline.retriever)
    return LegRuns(tuple(queries), tuple(answers), make_fusion(None, retrievers).as_config())


def search_space(legs: Sequence[str], depths: Iterable[int] = DEPTHS) -> list[Choice]:
    """Give what is tried: methods, normalisers, constants, weights in tenths, depths.

    Weights go from one leg alone to the other, so that a leg that only does harm can be left out. With three legs
    they go in fifths, and with more in thirds: the number of combinations grows fast.
    """
    step = {1: 1, 2: 10, 3: 5}.get(len(legs), 3)
    weights = [dict(zip(legs, parts, strict=True)) for parts in _parts(step, len(legs))]
    some = [choice for choice in weights if min(choice.values()) > 0] or weights
    fusions: list[dict[str, Any]] = []
    for normalizer in ("min-max", "z-score", "dbsf", "max"):
        missing = "min" if normalizer == "z-score" else "zero"
        fusions += [
            {"method": "weighted-sum", "normalizer": normalizer, "missing": missing, "weights": choice}
            for choice in weights
        ]
    fusions += [{"method": "rrf", "k": k, "weights": choice} for k, choice in product((1, 10, 60), some)]
    fusions += [{"method": "comb-mnz"}, {"method": "borda"}, {"method": "isr"}]
    for (power, floor), ratio, leg in product(((1, 0), (1.5, 0), (3, 0), (6, 0.5)), (12, 20, 34, 50), legs):
        scales = {name: ratio if name == leg else 1 for name in legs}
        floors = {"floors": {name: floor if name == leg else 0 for name in legs}} if floor else {}
        fusions.append({"method": "spread-weighted", "power": power, "scales": scales, **floors})
    return [Choice(fusion, depth) for depth in depths for fusion in fusions]


def score_choices(
    runs: LegRuns,
    qrels: Mapping[str, Mapping[str, int]],
    choices: Sequence[Choice],
    measure: str = "ndcg@10",
    *,
    show_progress: bool = True,
) -> NDArray[np.float64]:
    """Measure every choice on every query, float64 [choices, queries]; the queries in the order of the qrels."""
    coded = Qrels.from_dict(qrels)
    cutoff = Measure.parse(measure).k
    values = np.empty((len(choices), len(coded)))
    with tqdm(total=len(choices), desc="fusing", unit="fusion", disable=not show_progress) as bar:
        for depth in dict.fromkeys(choice.depth for choice in choices):
            pool = Pool.of(runs.top(depth))
            for place, choice in enumerate(choices):
                if choice.depth == depth:
                    hits = _fuse(fusion_from_config(choice.fusion), pool, cutoff)
                    scores = evaluate(hits, coded, [measure], queries=runs.query_ids)
                    values[place] = scores.per_query[measure]
                    bar.update()
    return values


def held_out(values: NDArray[np.float64], *, folds: int = FOLDS, seed: int = 0) -> NDArray[np.float64]:
    """Choose on all folds but one and give the values on that one, for each: float64 [queries].

    Parameters
    ----------
    values
        float64 [choices, queries].
    folds
        In how many parts the queries are dealt, at random (`seed`); 2 or more, and no more than queries.
    """
    queries = values.shape[1]
    if not 2 <= folds <= queries:
        raise InputError(f"{queries} queries cannot be dealt into {folds} folds: give 2 folds or more, or more queries")
    fold = np.random.default_rng(seed).permutation(np.arange(queries) % folds)
    result = np.empty(queries)
    for number in range(folds):
        unseen = fold == number
        result[unseen] = values[values[:, ~unseen].mean(axis=1).argmax(), unseen]
    return result


def bootstrap(values: NDArray[np.float64], *, samples: int = SAMPLES, seed: int = 0) -> Interval:
    """Give the mean of one value a query, with the 95% percentile interval of its bootstrap means (Efron 1979)."""
    low, high = bootstrap_interval(values, samples, np.random.default_rng(seed))
    return Interval(float(values.mean()), low, high)


def tune(
    runs: LegRuns,
    qrels: Mapping[str, Mapping[str, int]],
    *,
    untuned: Choice | None = None,
    choices: Sequence[Choice] | None = None,
    measure: str = "ndcg@10",
    folds: int = FOLDS,
    seed: int = 0,
    show_progress: bool = True,
) -> TuningReport:
    """Choose the fusion that serves these queries best, and say how well such a choice does on others.

    The figure for others comes from cross-validation: for each fold of the queries the choice is made on the rest.

    Parameters
    ----------
    runs
        Of `run_legs`, at least as deep as the deepest choice.
    qrels
        ``{query_id: {doc_id: grade}}`` for the queries of `runs`.
    untuned
        What is done without tuning; by default what a search does, `LegRuns.untuned` of 100 hits a leg.
    choices
        What is tried besides, `search_space` by default.
    measure
        As in `evaluate`.
    folds, seed
        As in `held_out`.
    """
    judged = {query_id: grades for query_id, grades in qrels.items() if query_id in set(runs.query_ids) and grades}
    untuned = untuned or Choice(runs.untuned, UNTUNED_DEPTH)
    tried = [untuned, *(search_space(runs.names) if choices is None else choices)]
    values = score_choices(runs, judged, tried, measure, show_progress=show_progress)
    alone = {
        name: evaluate(hits, judged, [measure], queries=runs.query_ids).per_query[measure]
        for name, hits in zip(runs.names, runs.answers, strict=True)
    }
    unseen = held_out(values, folds=folds, seed=seed)
    best = int(values.mean(axis=1).argmax())
    best_leg = max(alone.values(), key=lambda leg: float(leg.mean()))
    return TuningReport(
        measure=measure,
        queries=values.shape[1],
        tried=len(tried),
        legs={name: float(leg.mean()) for name, leg in alone.items()},
        default=float(values[0].mean()),
        held_out=float(unseen.mean()),
        seen=float(values[best].mean()),
        over_default=bootstrap(unseen - values[0], seed=seed),
        over_best_leg=bootstrap(unseen - best_leg, seed=seed),
        untuned=untuned,
        chosen=tried[best],
    )


def read_choice(directory: str | Path) -> Choice | None:
    """Return the fusion and depth that a collection's ``search.yaml`` names; None where it names no fusion."""
    config = SearchConfig.of_collection(directory)
    if not config.fusion:
        return None
    fusion = with_method(config.fusion)
    fusion_from_config(fusion)
    return Choice(fusion, config.depth)


def write_choice(directory: str | Path, choice: Choice) -> Path:
    """Write a fusion and its depth to a collection's ``search.yaml``, atomically; its other keys stay."""
    return update_search_file(directory, {"fusion": dict(choice.fusion), "depth": choice.depth})


def _fuse(method: FusionMethod, pool: Pool, k: int | None) -> Hits:
    """Fuse a pool that was made once for many methods, and give the best `k` without sorting the others."""
    method.fit(pool.answers)
    scores = ordered_sum(method.contributions(method.values(pool), pool))
    keep = np.ones(len(pool), np.bool_) if k is None else _among_best(scores, pool, k)
    return Hits.ranked(pool.queries, pool.rows[keep], pool.codes[keep], scores[keep], pool.ids, k)


def _among_best(scores: NDArray[np.float64], pool: Pool, k: int) -> NDArray[np.bool_]:
    """Mark the candidates that score no less than their query's `k`-th best."""
    counts = np.bincount(pool.rows, minlength=pool.queries)
    width = int(counts.max(initial=0))
    if width <= k:
        return np.ones(len(pool), np.bool_)
    table = np.full((pool.queries, width), -np.inf)
    table[pool.rows, np.arange(len(pool)) - (np.cumsum(counts) - counts)[pool.rows]] = scores
    lowest = np.partition(table, width - k, axis=1)[:, width - k]
    return scores >= lowest[pool.rows]


def _parts(total: int, legs: int) -> Iterator[tuple[float, ...]]:
    """Give every way to divide 1 among the legs in steps of ``1 / total``."""
    for numbers in product(range(total + 1), repeat=legs):
        if sum(numbers) == total:
            yield tuple(round(number / total, 3) for number in numbers)
