"""Query variants: several phrasings of one query, searched together, fused, and explained by variant and leg."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from indexing import inputs
from indexing.errors import InputError
from indexing.hits import Hits, align
from pipelines.search.explaining import boosts_of, explain, reranker_tokens, stages_of
from pipelines.search.results import Explanation, LegExplanation, SearchResults
from pipelines.search.stages import SearchRequest, Stages
from retrieve.fusion import Fusion
from retrieve.fusion.shares import ExplainingFusion, Shares, measured_shares, stated_shares
from retrieve.trace import Trace


def answer_variants(
    stages: Stages, variants: Sequence[str], request: SearchRequest, fusion: Fusion, trace: Trace
) -> SearchResults:
    """Return the results for several phrasings of one query; see `SearchPipeline.multi_search`."""
    variants = inputs.texts(variants, "queries")
    if not variants:
        raise InputError("queries must be a list of at least one string, not an empty one")
    for variant in variants:
        inputs.query(variant)
    start = time.perf_counter()
    variants = stages.read(variants, request, trace)
    found = stages.find(variants, request, trace, variants=True)
    answers = [found.part(row, row + 1).as_leg(variant_name(row)) for row in range(len(variants))]
    with trace.stage("fusion of queries"):
        shares = _fused(fusion, answers) if request.explain else None
        hits = fusion(answers) if shares is None else shares.hits
    why = partial(_explain, stages, variants, found, shares)
    return stages.show([variants[0]], hits.top(stages.depth(request, variants=True)), request, trace, start, why)[0]


def variant_name(row: int) -> str:
    """Return the name of variant number `row`, from 0, in a hit's provenance."""
    return f"query {row + 1}"


def _fused(fusion: Fusion, answers: Sequence[Hits]) -> Shares:
    if isinstance(fusion, ExplainingFusion):
        return stated_shares(fusion, answers, None)
    return measured_shares(fusion, answers, fusion(answers))


def _explain(
    stages: Stages, variants: Sequence[str], found: Hits, shares: Shares | None, hits: Hits, trace: Trace
) -> list[Explanation]:
    """Explain each hit by the variants that found it, and each variant by its legs."""
    assert shares is not None, "a search with explanations records the shares of its fusion"
    _, (of_found, of_hits) = align([found, hits])
    shown = found.where(np.isin(of_found, of_hits))
    by_leg = explain(stages.legs, variants, stages.documents, shown, trace)
    inner = dict(zip(zip(shown.rows.tolist(), shown.doc_ids, strict=True), by_leg, strict=True))
    ids = hits.doc_ids
    places = shares.positions(hits).tolist()
    by_variant: list[dict[str, LegExplanation]] = [{} for _ in places]
    for row in range(len(variants)):
        name = variant_name(row)
        column, normalized, share = hits.legs[name], shares.normalized.get(name), shares.shares[name]
        for at in np.flatnonzero(column.ranks).tolist():
            by_variant[at][name] = LegExplanation(
                int(column.ranks[at]),
                float(column.scores[at]),
                None if normalized is None else float(normalized[places[at]]),
                float(share[places[at]]),
                legs=inner[row, ids[at]].legs,
            )
    tokens = reranker_tokens(stages.reranker, variants[:1], stages.documents, hits)
    return [
        Explanation(legs, *both, boosts, met)
        for legs, both, boosts, met in zip(by_variant, stages_of(hits), boosts_of(hits), tokens, strict=True)
    ]
