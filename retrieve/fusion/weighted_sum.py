"""Weighted sum of normalised scores."""

from collections.abc import Sequence

from indexing.hits import Hits
from retrieve.fusion.combine import combine, leg_weights
from retrieve.fusion.min_max import min_max


def weighted_sum(answers: Sequence[Hits], *, weights: Sequence[float] | None = None) -> Hits:
    """Fuse by scores, min-max normalised for each query and leg (the convex combination of Bruch et al., TOIS 2023).

    ``score(d) = sum over legs of weight * min_max(score(d)) / sum of weights``; a leg that did not return `d` adds
    nothing, as if `d` had that leg's lowest returned score. Scores lie in [0, 1].

    Parameters
    ----------
    answers
        One `Hits` a leg, all for the same queries.
    weights
        One for each leg, in their order; equal by default.
    """
    weights = leg_weights(answers, weights)
    total = sum(weights)
    return combine(
        answers,
        [min_max(hits.scores, hits.offsets) * (weight / total) for hits, weight in zip(answers, weights, strict=True)],
    )
