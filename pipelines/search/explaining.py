"""Explanations of hits: ranks, scores, shares and matched terms of each leg."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from indexing.collection.store import DocumentStore
from indexing.hits import Hits, LegHit
from indexing.indexes.base import Terms
from pipelines.search.boosts import BOOST
from pipelines.search.results import Explanation, LegExplanation
from retrieve.reranking.base import FIRST_STAGE, RERANKER
from retrieve.retrievers import Retriever, TokenRetriever
from retrieve.token_matches import TokenMatch
from retrieve.trace import Trace


def explain(
    legs: Sequence[Retriever],
    queries: Sequence[str],
    documents: DocumentStore,
    hits: Hits,
    trace: Trace,
    *,
    reranker: Any = None,
) -> list[Explanation]:
    """Return the explanation of each hit, in order.

    Parameters
    ----------
    legs
        The retrievers whose ranks and scores are in the hits' provenance.
    queries
        One query for each row of `hits`.
    documents
        The documents, whose tokens a leg of token vectors matched.
    hits
        The hits, with their provenance.
    trace
        Trace of the search that found them, with ``explain=True``.
    reranker
        The reranker that ordered them, if any.
    """
    places = trace.shares.positions(hits) if trace.shares is not None else None
    by_leg = {leg.name: _of_leg(leg, queries, documents, hits, trace, places) for leg in legs}
    boosts, tokens = boosts_of(hits), reranker_tokens(reranker, queries, documents, hits)
    return [
        Explanation(
            {name: part for name, column in by_leg.items() if (part := column[at]) is not None},
            *stages,
            boosts[at],
            tokens[at],
        )
        for at, stages in enumerate(stages_of(hits))
    ]


def reranker_tokens(
    reranker: Any, queries: Sequence[str], documents: DocumentStore, hits: Hits
) -> Sequence[Sequence[TokenMatch] | None]:
    """Return the tokens that met in each hit that a late-interaction reranker read; None for others."""
    none: list[Sequence[TokenMatch] | None] = [None] * len(hits.codes)
    if RERANKER not in hits.legs or not hasattr(reranker, "token_matches"):
        return none
    read = hits.legs[RERANKER].ranks > 0
    scored = hits.where(read)
    found = reranker.token_matches(queries, scored, documents.contents(scored.doc_ids))
    for at, met in zip(np.flatnonzero(read).tolist(), found or (), strict=found is not None):
        none[at] = met
    return none


def boosts_of(hits: Hits) -> list[dict[str, float]]:
    """Return what each boost added to the score of each hit, by its field."""
    columns = {name.removeprefix(BOOST): leg.scores for name, leg in hits.legs.items() if name.startswith(BOOST)}
    return [{field: float(scores[at]) for field, scores in columns.items()} for at in range(len(hits.codes))]


def stages_of(hits: Hits) -> list[tuple[LegHit, LegHit | None]]:
    """Return each hit's rank and score before the reranker, and the reranker's own if it read the hit."""
    first = hits.legs.get(FIRST_STAGE)
    ranks, scores = (hits.ranks, hits.scores) if first is None else (first.ranks, first.scores)
    before = list(map(LegHit, ranks.tolist(), scores.tolist()))
    if RERANKER not in hits.legs:
        return [(stage, None) for stage in before]
    own = hits.legs[RERANKER]
    scored = map(LegHit, own.ranks.tolist(), own.scores.tolist())
    return [(stage, score if score.rank else None) for stage, score in zip(before, scored, strict=True)]


def _of_leg(
    leg: Retriever,
    queries: Sequence[str],
    documents: DocumentStore,
    hits: Hits,
    trace: Trace,
    places: "np.ndarray | None",
) -> list[LegExplanation | None]:
    """Return a leg's part in every hit; None where it neither returned nor scored the hit."""
    column, shares = hits.legs[leg.name], trace.shares
    involved = (column.ranks > 0) | ~np.isnan(column.scores)
    explained_hits = hits.where(involved)
    matched = iter(leg.terms(queries, explained_hits) or ())
    met = iter(_token_matches(leg, queries, documents, explained_hits) or ())
    explained: list[LegExplanation | None] = []
    for at, is_involved in enumerate(involved.tolist()):
        if not is_involved:
            explained.append(None)
            continue
        normalized, share, decided = None, 1.0, False
        if shares is not None and places is not None:
            share = float(shares.shares[leg.name][places[at]])
            if leg.name in shares.normalized:
                normalized = float(shares.normalized[leg.name][places[at]])
            if leg.name in shares.decided:
                decided = bool(shares.decided[leg.name][places[at]])
        terms: Terms | None = next(matched, None)
        rank = int(column.ranks[at]) or None
        explained.append(
            LegExplanation(rank, float(column.scores[at]), normalized, share, terms, decided, tokens=next(met, None))
        )
    return explained


def _token_matches(
    leg: Retriever, queries: Sequence[str], documents: DocumentStore, hits: Hits
) -> list[list[TokenMatch]] | None:
    """Return the matched tokens of each hit of a leg of token vectors; None for another leg."""
    if not isinstance(leg, TokenRetriever):
        return None
    ids = sorted(set(hits.doc_ids))
    return leg.token_matches(queries, hits, dict(zip(ids, documents.contents(ids), strict=True)))
