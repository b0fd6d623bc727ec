"""CombMIN."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombMin(ScoreMethod):
    """Fuse by the lowest normalised score: ``score(d) = min over legs of s(d)`` (Fox and Shaw, TREC-2, 1994).

    With ``missing="skip"``, the default, over the legs that returned `d`; ``"zero"`` gives 0 to whatever one leg
    lacks.
    """

    name: ClassVar[str] = "comb-min"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Keep the lowest of each candidate: the first leg's that has it."""
        chosen = np.nanargmin(values, axis=0, keepdims=True) if len(pool) else np.zeros((1, 0), np.int64)
        return np.where(np.arange(len(values))[:, np.newaxis] == chosen, values, 0.0)
