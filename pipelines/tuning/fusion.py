"""Tuning: choose the fusion of a collection's legs from judged queries, and test whether the choice is a gain."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from indexing.plurals import counted
from indexing.progress import progress
from indexing.query_syntax import Synonyms
from pipelines.measures.evaluate import evaluate
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Qrels
from pipelines.measures.significance import SAMPLES, bootstrap_interval
from pipelines.search.blocks import search_blocks
from pipelines.search.config import SearchConfig, update_search_file
from pipelines.search.fusing import with_method
from pipelines.search.judged_parents import Parents, judges_parents
from retrieve.fusion import FusionMethod, fusion_from_config
from retrieve.fusion.pool import Pool, ordered_sum
from retrieve.hybrid import DEPTH, fusion_for

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder
    from retrieve.retrievers import Retriever

DEPTHS = (50, 100, 200)
FOLDS = 5
QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class LegRuns:
    """Answers of each leg to the queries: the only input of tuning, however many fusions it tries.

    `answers` holds one `Hits` per leg, named by its provenance; row ``i`` answers ``query_ids[i]``. With
    `parents` the hits are chunks and their parents are judged. `untuned` is the default fusion of these legs.
    """

    query_ids: tuple[str, ...]
    answers: tuple[Hits, ...]
    untuned: Mapping[str, Any] = field(default_factory=lambda: {"method": "weighted-sum"})
    parents: Parents | None = None

    @property
    def names(self) -> list[str]:
        """Names of the legs."""
        return [next(iter(hits.legs)) for hits in self.answers]

    def judged(self, hits: Hits) -> Hits:
        """Return the hits that are judged: the documents, or the parents of chunks."""
        return hits if self.parents is None else self.parents.judge(hits)

    def top(self, depth: int) -> tuple[Hits, ...]:
        """Return the answers cut to `depth` hits per leg."""
        return tuple(hits.top(depth).as_leg(name) for hits, name in zip(self.answers, self.names, strict=True))


@dataclass(frozen=True, slots=True)
class Choice:
    """A fusion (as `fusion_from_config` reads it) and the number of hits that each leg gives to it."""

    fusion: Mapping[str, Any]
    depth: int

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.fusion.items() if name != "method")
        name = self.fusion.get("method") or self.fusion.get("like")
        return f"{name} ({options}), depth {self.depth}" if options else f"{name}, depth {self.depth}"


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval over the queries."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True, slots=True)
class TuningReport:
    """Result of tuning.

    Parameters
    ----------
    measure, queries, tried
        The measure, the number of queries, and the number of choices.
    legs, default, held_out, seen
        Means of each leg alone; of the untuned choice; of tuning on held-out queries; and of the final choice on the
        queries that it was chosen by, which is optimistic.
    over_default, over_best_leg
        The held-out gain over the untuned choice and over the best single leg, with 95% intervals over the queries.
    untuned, chosen
        The untuned choice, and the best choice over all queries.
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
        """True when the interval of the held-out gain over the untuned choice lies above zero."""
        return self.over_default.low > 0

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "is_gain": self.is_gain}

    def __str__(self) -> str:
        best = max(self.legs, key=self.legs.__getitem__)
        tried = f"{counted(self.tried, 'fusion')} tried on one run per leg"
        lines = [f"{self.measure} over {counted(self.queries, 'query')}; {tried}", ""]
        lines += [f"  {name + ' alone':<31} {mean:.4f}" for name, mean in self.legs.items()]
        lines += [
            f"  {'untuned':<31} {self.default:.4f}   {self.untuned}",
            f"  {'tuned, on held-out queries':<31} {self.held_out:.4f}",
            f"  {'tuned, on the same queries':<31} {self.seen:.4f}   {self.chosen}",
            "",
            f"  gain over untuned     {self.over_default}  (95%, bootstrap over queries)",
            f"  gain over {best + ' alone':<11} {self.over_best_leg}",
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
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    legs: Sequence[str] | None = None,
    depth: int = max(DEPTHS),
    dense: "str | DenseEncoder | None" = None,
    sparse: "str | SparseEncoder | None" = None,
    show_progress: bool = True,
) -> LegRuns:
    """Search each leg of a collection once.

    Parameters
    ----------
    directory
        A collection.
    queries
        ``{query_id: text}``.
    qrels
        The judgements; they decide whether chunks or their parents are judged. Without them documents are judged.
    legs
        Names of at least two legs, all by default.
    depth
        Number of hits per leg.
    dense, sparse
        As for `SearchPipeline.open`.

    Raises
    ------
    InputError
        For a single leg, or when no judged document is in the collection.
    """
    from indexing.collection.reader import Collection
    from pipelines.search.opening import LegRetrievers, searched_legs
    from pipelines.search.reading import read_queries

    with Collection.open(directory) as collection:
        names = searched_legs(collection.manifest) if legs is None else list(legs)
        if len(names) < 2:
            raise InputError(f"{directory} has the leg {', '.join(names)} only: a fusion needs two legs")
        by_parents = bool(qrels) and judges_parents(collection.documents, qrels or {}, directory)
        stated = SearchConfig.of_collection(directory)
        opened = LegRetrievers(collection, stated.legs, dense=dense, sparse=sparse)
        retrievers = [opened[name] for name in names]
        synonyms = None if stated.synonyms is None else Synonyms.load(Path(directory) / stated.synonyms)
        texts = read_queries(list(queries.values()), stated.query_syntax, collection.snapshot, synonyms=synonyms)
        answers = [
            search_blocks(partial(_search, leg, depth), texts, QUERIES_AT_ONCE, f"searching {leg.name}", show_progress)
            for leg in retrievers
        ]
        parents = Parents.in_hits(collection.documents, answers) if by_parents else None
    named = tuple(hits.as_leg(name) for hits, name in zip(answers, names, strict=True))
    return LegRuns(tuple(queries), named, fusion_for(retrievers).as_config(), parents)


def _search(leg: "Retriever", depth: int, queries: Sequence[str]) -> Hits:
    return leg.search(queries, depth)


def search_space(legs: Sequence[str], depths: Iterable[int] = DEPTHS) -> list[Choice]:
    """Return the choices to try: methods, normalizers, constants, weights in tenths, depths.

    Weights range from one leg alone to the other alone, so that a harmful leg can be left out. With three legs they
    go in fifths, with more in thirds, because the number of combinations grows fast.
    """
    step = {1: 1, 2: 10, 3: 5}.get(len(legs), 3)
    weights = [dict(zip(legs, parts, strict=True)) for parts in _parts(step, len(legs))]
    positive = [choice for choice in weights if min(choice.values()) > 0] or weights
    fusions: list[dict[str, Any]] = []
    for normalizer in ("min-max", "z-score", "dbsf", "max"):
        missing = "min" if normalizer == "z-score" else "zero"
        fusions += [
            {"method": "weighted-sum", "normalizer": normalizer, "missing": missing, "weights": choice}
            for choice in weights
        ]
    fusions += [{"method": "rrf", "k": k, "weights": choice} for k, choice in product((1, 10, 60), positive)]
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
    """Return the measure of every choice on every query, float64 [choices, queries], in the order of the qrels."""
    coded = Qrels.from_dict(qrels)
    cutoff = Measure.parse(measure).k
    values = np.empty((len(choices), len(coded)))
    with progress(total=len(choices), desc="fusing", unit="fusion", disable=not show_progress) as bar:
        for depth in dict.fromkeys(choice.depth for choice in choices):
            pool = Pool.of(runs.top(depth))
            for place, choice in enumerate(choices):
                if choice.depth == depth:
                    hits = _fuse(fusion_from_config(choice.fusion), pool, None if runs.parents else cutoff)
                    scores = evaluate(runs.judged(hits), coded, [measure], queries=runs.query_ids)
                    values[place] = scores.per_query[measure]
                    bar.update()
    return values


def held_out(values: NDArray[np.float64], *, folds: int = FOLDS, seed: int = 0) -> NDArray[np.float64]:
    """Return each query's value under the choice made on the other folds (cross-validation): float64 [queries].

    Parameters
    ----------
    values
        float64 [choices, queries].
    folds
        Number of folds, at least 2 and at most the number of queries; queries are assigned at random (`seed`).
    """
    queries = values.shape[1]
    if not 2 <= folds <= queries:
        raise InputError(
            f"{counted(queries, 'query')} cannot be divided into {counted(folds, 'fold')}: use 2 folds or more, "
            "or more queries"
        )
    fold = np.random.default_rng(seed).permutation(np.arange(queries) % folds)
    result = np.empty(queries)
    for number in range(folds):
        unseen = fold == number
        result[unseen] = values[values[:, ~unseen].mean(axis=1).argmax(), unseen]
    return result


def bootstrap(values: NDArray[np.float64], *, samples: int = SAMPLES, seed: int = 0) -> Interval:
    """Return the mean over queries with the 95% percentile interval of its bootstrap means (Efron 1979)."""
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
    """Choose the best fusion for these queries, and estimate how such a choice does on other queries.

    The estimate comes from cross-validation: for each fold of the queries the choice is made on the rest.

    Parameters
    ----------
    runs
        Of `run_legs`, at least as deep as the deepest choice.
    qrels
        ``{query_id: {doc_id: grade}}`` for the queries of `runs`.
    untuned
        The choice without tuning; by default what a search does, `LegRuns.untuned` of 100 hits per leg.
    choices
        Further choices to try, `search_space` by default.
    measure
        As in `evaluate`.
    folds, seed
        As in `held_out`.
    """
    judged = {query_id: grades for query_id, grades in qrels.items() if query_id in set(runs.query_ids) and grades}
    untuned = untuned or Choice(runs.untuned, DEPTH)
    tried = [untuned, *(search_space(runs.names) if choices is None else choices)]
    values = score_choices(runs, judged, tried, measure, show_progress=show_progress)
    alone = {
        name: evaluate(runs.judged(hits), judged, [measure], queries=runs.query_ids).per_query[measure]
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
    """Fuse a pool shared by many methods, and return the best `k` hits without sorting the others."""
    method.fit(pool.answers)
    scores = ordered_sum(method.contributions(method.values(pool), pool))
    keep = np.ones(len(pool), np.bool_) if k is None else _among_best(scores, pool, k)
    return Hits.ranked(pool.queries, pool.rows[keep], pool.codes[keep], scores[keep], pool.ids, k)


def _among_best(scores: NDArray[np.float64], pool: Pool, k: int) -> NDArray[np.bool_]:
    """Return a mask of the candidates that score at least as much as their query's `k`-th best."""
    counts = np.bincount(pool.rows, minlength=pool.queries)
    width = int(counts.max(initial=0))
    if width <= k:
        return np.ones(len(pool), np.bool_)
    table = np.full((pool.queries, width), -np.inf)
    table[pool.rows, np.arange(len(pool)) - (np.cumsum(counts) - counts)[pool.rows]] = scores
    lowest = np.partition(table, width - k, axis=1)[:, width - k]
    return scores >= lowest[pool.rows]


def _parts(total: int, legs: int) -> Iterator[tuple[float, ...]]:
    """Yield every division of 1 among the legs in steps of ``1 / total``."""
    for numbers in product(range(total + 1), repeat=legs):
        if sum(numbers) == total:
            yield tuple(round(number / total, 3) for number in numbers)
