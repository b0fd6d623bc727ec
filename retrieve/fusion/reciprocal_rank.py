"""Reciprocal rank fusion."""

from collections.abc import Sequence

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.combine import combine, leg_weights


def reciprocal_rank_fusion(answers: Sequence[Hits], *, k: float = 60, weights: Sequence[float] | None = None) -> Hits:
    """Fuse by ranks alone (Cormack, Clarke and Büttcher, SIGIR 2009).

    ``score(d) = sum over legs of weight / (k + rank(d))`` with ranks from 1; a leg that did not return `d` adds
    nothing. With weights of 1 these are the scores of the paper, Elasticsearch and ranx. (Qdrant divides the *rank* by
    the weight and counts its `k` otherwise; LlamaIndex counts ranks from 0; Haystack rescales.)

    Parameters
    ----------
    answers
        One `Hits` a leg, all for the same queries.
    k
        The constant that flattens the top ranks; the paper's 60 by default.
    weights
        One for each leg, in their order; 1 each by default.
    """
    if not k > -1:
        raise InputError(f"k must be above -1, not {k}")
    return combine(
        answers,
        [weight / (k + hits.ranks) for hits, weight in zip(answers, leg_weights(answers, weights), strict=True)],
    )
