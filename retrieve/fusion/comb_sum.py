"""CombSUM."""

from dataclasses import dataclass
from typing import ClassVar

from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombSum(ScoreMethod):
    """CombSUM: the sum of normalised scores, ``score(d) = sum over legs of s(d)`` (Fox and Shaw, TREC-2, 1994)."""

    name: ClassVar[str] = "comb-sum"
