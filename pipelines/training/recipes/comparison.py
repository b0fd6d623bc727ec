"""Whether a reranker is better than the first stage on queries it has not seen, and by how much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Qrels
from pipelines.measures.significance import compare_paired
from pipelines.tuning.reranker_weight import WEIGHTS
from retrieve.reranking.cross_encoder import Reranker, reweighted

if TYPE_CHECKING:
    from retrieve.encoders import CrossEncoder

MEASURES = ("nDCG@10", "MRR@10")

INTERPOLATED, ALONE, BEFORE = "after, with the first stage", "after", "before"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems on the same queries.

    Parameters
    ----------
    queries
        How many.
    weight
        The part of the first stage's score that was best on the tuning queries.
    figures
        {measure: {system: mean over the queries}}.
    gains
        {system: its nDCG@10 less the first stage's, with the 95% interval: (difference, low, high)}.
    """

    queries: int
    weight: float
    figures: dict[str, dict[str, float]]
    gains: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def is_gain(self) -> bool:
        """Whether reranking with the tuned weight is better than the first stage beyond the choice of queries."""
        return self.gains[INTERPOLATED][1] > 0

    @property
    def verdict(self) -> str:
        """Say whether the reranker is worth its time."""
        if self.is_gain:
            return "a gain over the first stage: the interval lies above zero"
        if self.weight == 1:
            return "no gain: on the tuning queries the first stage was best as it is"
        worse = self.gains[INTERPOLATED][2] < 0
        told = "worse than the first stage" if worse else "no gain that these queries can show"
        return f"{told}: the interval {'lies below' if worse else 'holds'} zero"

    def __str__(self) -> str:
        lines = [f"  on {self.queries} held-out queries:"]
        for system in self.figures[MEASURES[0]]:
            told = ", ".join(f"{measure} {self.figures[measure][system]:.4f}" for measure in self.figures)
            if system in self.gains:
                told += " ({:+.4f}, 95% interval {:+.4f} to {:+.4f})".format(*self.gains[system])
            lines.append(f"    {system}: {told}")
        lines.append(f"  the first stage's score was given the weight {self.weight:g}, tuned on other queries")
        lines.append(f"  {self.verdict}")
        return "\n".join(lines)


def compare(
    first: tuple[Hits, Sequence[str], Mapping[str, Mapping[str, int]]],
    tuning: tuple[Hits, Sequence[str], Mapping[str, Mapping[str, int]]],
    texts: Mapping[str, str],
    documents: Any,
    model: "CrossEncoder",
    *,
    before: "CrossEncoder | None" = None,
    seed: int = 0,
    show_progress: bool = True,
) -> Comparison:
    """Compare a reranker with the first stage, alone and with some of the first stage's score.

    Parameters
    ----------
    first, tuning
        What the first stage found, the ids of the queries, and their qrels: to compare on, and to choose the weight on.
    texts
        Of all these queries, by id.
    documents
        Where the candidates' texts are.
    before
        The model as it was, where it could rerank already.
    """

    def reranked(which: "CrossEncoder", some: tuple[Hits, Sequence[str], Any]) -> Hits:
        queries = [texts[query_id] for query_id in some[1]]
        return Reranker(which).rerank(queries, some[0], documents, show_progress=show_progress)

    tried = reranked(model, tuning)
    on_tuning = [_values(reweighted(tried, weight), tuning, MEASURES[0]).mean() for weight in WEIGHTS]
    weight = WEIGHTS[int(np.argmax(on_tuning))]
    after = reranked(model, first)
    systems = {"first stage": first[0]} | ({BEFORE: reranked(before, first)} if before is not None else {})
    systems |= {ALONE: after, INTERPOLATED: reweighted(after, weight)}
    values = {m: {name: _values(hits, first, m) for name, hits in systems.items()} for m in MEASURES}
    baseline = values[MEASURES[0]]["first stage"]
    gains = {
        name: _gain(of_one, baseline, seed) for name, of_one in values[MEASURES[0]].items() if name != "first stage"
    }
    figures = {m: {name: float(of_one.mean()) for name, of_one in some.items()} for m, some in values.items()}
    return Comparison(len(first[1]), weight, figures, gains)


def _values(hits: Hits, judged: tuple[Hits, Sequence[str], Any], measure: str) -> NDArray[np.float64]:
    qrels = Qrels.from_dict(judged[2])
    return Measure.parse(measure)(qrels.judge(hits, judged[1]))


def _gain(system: NDArray[np.float64], baseline: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    compared = compare_paired(system, baseline, seed=seed)
    return compared.difference, *compared.interval
