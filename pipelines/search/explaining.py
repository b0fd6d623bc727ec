"""Why each hit stands where it does: provenance, shares and matched terms brought together."""

from collections.abc import Sequence

import numpy as np

from indexing.hits import Hits, LegHit
from pipelines.search.results import Explanation, LegExplanation
from retrieve.rerankers import FIRST_STAGE, RERANKER
from retrieve.retrievers import Retriever, Terms
from retrieve.trace import Trace


def explain(legs: Sequence[Retriever], queries: Sequence[str], hits: Hits, trace: Trace) -> list[Explanation]:
    """Explain each of the hits that are shown, one after another.

    Parameters
    ----------
    legs
        The retrievers whose ranks and scores the hits carry.
    queries
        What was asked, one for each row of `hits`.
    hits
        The answers, with their provenance.
    trace
        Of the search that gave them, with ``explain=True``.
    """
    places = trace.shares.places(hits) if trace.shares is not None else None
    by_leg = {leg.name: _of_leg(leg, queries, hits, trace, places) for leg in legs}
    first, own = hits.legs.get(FIRST_STAGE), hits.legs.get(RERANKER)
    ranks, scores = (hits.ranks, hits.scores) if first is None else (first.ranks, first.scores)
    return [
        Explanation(
            {name: explained for name, column in by_leg.items() if (explained := column[at]) is not None},
            LegHit(int(ranks[at]), float(scores[at])),
            LegHit(int(own.ranks[at]), float(own.scores[at])) if own is not None and own.ranks[at] else None,
        )
        for at in range(len(hits.codes))
    ]


def _of_leg(
    leg: Retriever, queries: Sequence[str], hits: Hits, trace: Trace, places: "np.ndarray | None"
) -> list[LegExplanation | None]:
    """Explain a leg's part in every hit, None where it did not return it."""
    column = hits.legs[leg.name]
    returned = column.ranks > 0
    matched = iter(leg.terms(queries, hits.where(returned)) or ())
    shares = trace.shares
    explained: list[LegExplanation | None] = []
    for at, there in enumerate(returned.tolist()):
        if not there:
            explained.append(None)
            continue
        normalized, share = None, 1.0
        if shares is not None and places is not None:
            share = float(shares.shares[leg.name][places[at]])
            if leg.name in shares.normalized:
                normalized = float(shares.normalized[leg.name][places[at]])
        terms: Terms | None = next(matched, None)
        explained.append(LegExplanation(int(column.ranks[at]), float(column.scores[at]), normalized, share, terms))
    return explained
