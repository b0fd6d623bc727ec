"""One question in several wordings: searched for together, fused, and each hit explained by wording and leg."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from indexing.errors import InputError
from indexing.hits import Hits, align
from pipelines.search.explaining import explain, stages_of
from pipelines.search.results import Explanation, LegExplanation, SearchResults
from pipelines.search.stages import Asked, Stages
from retrieve.fusion import Fusion
from retrieve.fusion.shares import ExplainingFusion, Shares, measured_shares, stated_shares
from retrieve.retrievers import Retriever
from retrieve.trace import Trace


def answer_wordings(
    stages: Stages, wordings: Sequence[str], asked: Asked, fusion: Fusion, trace: Trace
) -> SearchResults:
    """Answer one question in several wordings, as `SearchPipeline.multi_search` has it."""
    if isinstance(wordings, str) or not wordings:
        raise InputError(f"queries must be a list of at least one string, not {wordings!r}")
    start = time.perf_counter()
    found = stages.find(wordings, asked, trace)
    answers = [found.part(row, row + 1).as_leg(wording_name(row)) for row in range(len(wordings))]
    with trace.stage("fusion of queries"):
        shares = _fused(fusion, answers) if asked.explain else None
        hits = fusion(answers) if shares is None else shares.hits
    why = partial(_explain, stages.legs, wordings, found, shares)
    return stages.show([wordings[0]], hits.top(stages.depth(asked)), asked, trace, start, why)[0]


def wording_name(row: int) -> str:
    """Say what a hit's provenance calls the wording number `row`, from 0."""
    return f"query {row + 1}"


def _fused(fusion: Fusion, answers: Sequence[Hits]) -> Shares:
    if isinstance(fusion, ExplainingFusion):
        return stated_shares(fusion, answers, None)
    return measured_shares(fusion, answers, fusion(answers))


def _explain(
    legs: Sequence[Retriever], wordings: Sequence[str], found: Hits, shares: Shares | None, hits: Hits, trace: Trace
) -> list[Explanation]:
    """Explain each hit by the wordings that found it, and each of those by its legs."""
    assert shares is not None, "whoever asks for explanations has the fusion explained"
    _, (of_found, of_hits) = align([found, hits])
    shown = found.where(np.isin(of_found, of_hits))
    by_leg = explain(legs, wordings, shown, trace)
    inner = dict(zip(zip(shown.rows.tolist(), shown.doc_ids, strict=True), by_leg, strict=True))
    ids = hits.doc_ids
    places = shares.positions(hits).tolist()
    whole: list[dict[str, LegExplanation]] = [{} for _ in places]
    for row in range(len(wordings)):
        name = wording_name(row)
        column, normalized, share = hits.legs[name], shares.normalized.get(name), shares.shares[name]
        for at in np.flatnonzero(column.ranks).tolist():
            whole[at][name] = LegExplanation(
                int(column.ranks[at]),
                float(column.scores[at]),
                None if normalized is None else float(normalized[places[at]]),
                float(share[places[at]]),
                legs=inner[row, ids[at]].legs,
            )
    return [Explanation(legs, *both) for legs, both in zip(whole, stages_of(hits), strict=True)]
