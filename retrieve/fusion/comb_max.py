"""CombMAX."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombMax(ScoreMethod):
    """Fuse by the highest normalised score: ``score(d) = max over legs of s(d)`` (Fox and Shaw, TREC-2, 1994).

    With ``missing="skip"``, the default, over the legs that returned `d`; ``"zero"`` brings in a 0, which beats
    scores below it.
    """

    name: ClassVar[str] = "comb-max"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Keep the highest of each candidate: the first leg's that has it."""
        chosen = np.nanargmax(values, axis=0, keepdims=True) if len(pool) else np.zeros((1, 0), np.int64)
        return np.where(np.arange(len(values))[:, np.newaxis] == chosen, values, 0.0)
