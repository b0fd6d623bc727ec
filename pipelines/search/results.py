"""Results of a search: documents, provenance, explanations and timings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from indexing.hits import LegHit
from indexing.indexes.base import Terms
from retrieve.token_matches import TokenMatch


@dataclass(frozen=True, slots=True)
class LegExplanation:
    """Contribution of one leg to a hit.

    Parameters
    ----------
    rank, score
        The leg's rank and score. The rank is None when the leg did not return the hit but scored it for the fusion
        (``missing="score"``).
    normalized
        The score as normalized by the fusion; None for a fusion of ranks, and without a fusion.
    share
        The leg's share of the fused score, 0 to 1; 1 without a fusion.
    terms
        Matched terms and their contributions to the leg's score, largest first; None for a leg that matches no terms.
    tokens
        For a leg of token vectors: each token of the query with the document's token that it met and its part of the
        leg's score; the parts sum to the score. None for another leg.
    decided
        Whether this leg alone put the hit first, because it contains rare words of the query (docs/fusion.md).
    legs
        When the leg is one variant of the query (`SearchPipeline.multi_search`): the contributions of the actual legs
        to that variant's score.
    """

    rank: int | None
    score: float
    normalized: float | None
    share: float
    terms: Terms | None = None
    decided: bool = False
    legs: "Mapping[str, LegExplanation]" = field(default_factory=dict)
    tokens: Sequence[TokenMatch] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        plain: dict[str, Any] = {"rank": self.rank, "score": self.score, "share": self.share}
        if self.normalized is not None:
            plain["normalized"] = self.normalized
        if self.terms is not None:
            plain["terms"] = [{"term": term, "weight": weight} for term, weight in self.terms]
        if self.tokens is not None:
            plain["tokens"] = _plain_tokens(self.tokens)
        if self.decided:
            plain["decided"] = True
        if self.legs:
            plain["legs"] = {name: leg.as_dict() for name, leg in self.legs.items()}
        return plain


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of a hit's rank.

    Parameters
    ----------
    legs
        Each leg that returned or scored it; for several query variants, each that found it: ``query 1``, ``query 2``, …
    first_stage
        Its rank and score before the reranker (final, without one): the fused ones, or those of the single leg.
    reranker
        The reranker's rank and score; None when the reranker did not read it.
    boosts
        What each boost added to the score, by its field.
    reranker_tokens
        For late interaction: each token of the query with the document's token that it met and its part of the
        reranker's score; the parts sum to the score. None for another reranker.
    """

    legs: Mapping[str, LegExplanation]
    first_stage: LegHit
    reranker: LegHit | None = None
    boosts: Mapping[str, float] = field(default_factory=dict)
    reranker_tokens: Sequence[TokenMatch] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        boosts = {"boosts": dict(self.boosts)} if self.boosts else {}
        tokens = {} if self.reranker_tokens is None else {"tokens": _plain_tokens(self.reranker_tokens)}
        return boosts | {
            "legs": {name: leg.as_dict() for name, leg in self.legs.items()},
            "first_stage": {"rank": self.first_stage.rank, "score": self.first_stage.score},
            "reranker": None
            if self.reranker is None
            else {"rank": self.reranker.rank, "score": self.reranker.score, **tokens},
        }


def _plain_tokens(tokens: Sequence[TokenMatch]) -> list[dict[str, Any]]:
    return [
        {"token": match.token, "matched": match.matched, "part": match.part}
        | ({} if match.span is None else {"span": list(match.span)})
        for match in tokens
    ]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One found document.

    Parameters
    ----------
    doc_id, title, text, metadata
        The document.
    score
        The score that ranks it: the reranker's, else the fused one, else the single leg's.
    rank
        Rank, from 1.
    legs
        Provenance: its rank and score in each stage that returned it (``bm25``, ``dense``, ``sparse``; with a reranker
        also ``first-stage``, before it, and ``reranker``).
    explanation
        Explanation of its rank, with ``explain=True``.
    """

    doc_id: str
    score: float
    rank: int
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    legs: Mapping[str, LegHit] = field(default_factory=dict)
    explanation: Explanation | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        plain = {
            "doc_id": self.doc_id,
            "score": self.score,
            "rank": self.rank,
            "title": self.title,
            "text": self.text,
            "metadata": dict(self.metadata),
            "legs": {name: {"rank": leg.rank, "score": leg.score} for name, leg in self.legs.items()},
        }
        return plain if self.explanation is None else plain | {"explanation": self.explanation.as_dict()}


class SearchResults(list[SearchResult]):
    """Documents found for one query, best first, with timings and failures.

    Attributes
    ----------
    timings
        Milliseconds by stage (``dense.encode``, ``dense.search``, ``bm25.search``, ``fusion``, ``reranker``,
        ``documents``, …) and in ``total``. Legs run at the same time, so the total is less than the sum. Queries
        answered in one batch share its time equally.
    failures
        Error of each leg that is missing from the answer (``on_leg_error="degrade"``).
    notes
        What a user may not expect: a query without words, a field to group by that no hit has, hits below `depth`.
    reranked
        Number of candidates that the reranker read; None without one.
    cached
        Whether the answer comes from the cache; its timings are those of the original search.
    facets
        Counts of the values of declared fields, if asked for: ``{"over", "documents", "fields"}``.
    """

    __slots__ = ("cached", "facets", "failures", "notes", "reranked", "timings")

    def __init__(
        self,
        results: Iterable[SearchResult] = (),
        *,
        timings: Mapping[str, float] | None = None,
        failures: Mapping[str, str] | None = None,
        notes: Iterable[str] = (),
        reranked: int | None = None,
        cached: bool = False,
        facets: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(results)
        self.facets = facets
        self.timings, self.failures = dict(timings or {}), dict(failures or {})
        self.notes, self.reranked, self.cached = list(notes), reranked, cached

    @property
    def degraded(self) -> bool:
        """True when a leg is missing from the answer."""
        return bool(self.failures)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        plain = {
            "hits": [result.as_dict() for result in self],
            "timings": {stage: round(milliseconds, 3) for stage, milliseconds in self.timings.items()},
            "degraded": self.degraded,
            "failures": self.failures,
            "reranked": self.reranked,
        }
        if self.notes:
            plain["notes"] = self.notes
        return plain if self.facets is None else plain | {"facets": self.facets}
