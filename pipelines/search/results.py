"""What a search gives: documents, where each came from, why, and what the search took."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from indexing.hits import LegHit
from indexing.indexes.base import Terms


@dataclass(frozen=True, slots=True)
class LegExplanation:
    """One leg's part in a hit.

    Parameters
    ----------
    rank, score
        The leg's own. The rank is None where the leg did not return the hit, but was asked for its true score by the
        fusion (``missing="score"``).
    normalized
        What the fusion made of that score; None where it goes by ranks, or nothing was fused.
    share
        The leg's part of the fused score, 0 to 1; 1 where nothing was fused.
    terms
        The matched terms and what each adds to the leg's score, the largest first; None for a leg that matches none.
    legs
        Where the leg is one wording of the question (`SearchPipeline.multi_search`): each leg's part in that wording's
        own score.
    """

    rank: int | None
    score: float
    normalized: float | None
    share: float
    terms: Terms | None = None
    legs: "Mapping[str, LegExplanation]" = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        plain: dict[str, Any] = {"rank": self.rank, "score": self.score, "share": self.share}
        if self.normalized is not None:
            plain["normalized"] = self.normalized
        if self.terms is not None:
            plain["terms"] = [{"term": term, "weight": weight} for term, weight in self.terms]
        if self.legs:
            plain["legs"] = {name: leg.as_dict() for name, leg in self.legs.items()}
        return plain


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit stands where it does.

    Parameters
    ----------
    legs
        Each leg that returned it, or scored it; of several wordings each that found it: ``query 1``, ``query 2``, …
    first_stage
        Its rank and score before the reranker (or at the end, without one): the fused ones, or the single leg's.
    reranker
        The reranker's own rank and score for it; None when it was not read.
    """

    legs: Mapping[str, LegExplanation]
    first_stage: LegHit
    reranker: LegHit | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {
            "legs": {name: leg.as_dict() for name, leg in self.legs.items()},
            "first_stage": {"rank": self.first_stage.rank, "score": self.first_stage.score},
            "reranker": None if self.reranker is None else {"rank": self.reranker.rank, "score": self.reranker.score},
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One found document.

    Parameters
    ----------
    doc_id, title, text, metadata
        The document.
    score
        What it was ranked by: the reranker's score, else the fused one, else the single leg's.
    rank
        From 1.
    legs
        Where it came from: each stage that returned it (``bm25``, ``dense``, ``sparse``; with a reranker also
        ``first-stage``, before it, and ``reranker``, its own) with its rank and score there.
    explanation
        Why it stands here, with ``explain=True``.
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
        """Give plain values that JSON can hold."""
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
    """The documents found for one query, best first, and what finding them took.

    Attributes
    ----------
    timings
        Milliseconds by stage (``dense.encode``, ``dense.search``, ``bm25.search``, ``fusion``, ``reranker``,
        ``documents``, …) and in ``total``. Legs run at the same time, so the total is less than the sum. Queries that
        were answered together bear an equal part each.
    failures
        By leg, why it is missing from the answer (``on_leg_error="degrade"``).
    reranked
        How many candidates the reranker read; None without one.
    cached
        Whether the answer was kept from an earlier search; the timings are those of then.
    """

    __slots__ = ("cached", "failures", "reranked", "timings")

    def __init__(
        self,
        results: Iterable[SearchResult] = (),
        *,
        timings: Mapping[str, float] | None = None,
        failures: Mapping[str, str] | None = None,
        reranked: int | None = None,
        cached: bool = False,
    ) -> None:
        super().__init__(results)
        self.timings, self.failures = dict(timings or {}), dict(failures or {})
        self.reranked, self.cached = reranked, cached

    @property
    def degraded(self) -> bool:
        """Whether a leg is missing."""
        return bool(self.failures)

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {
            "hits": [result.as_dict() for result in self],
            "timings": {stage: round(milliseconds, 3) for stage, milliseconds in self.timings.items()},
            "degraded": self.degraded,
            "failures": self.failures,
            "reranked": self.reranked,
        }
