"""CombANZ."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.method import or_zero
from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombAnz(ScoreMethod):
    """CombANZ: the mean of normalised scores (Fox and Shaw, TREC-2, 1994).

    ``score(d) = sum over legs of s(d) / n(d)``, where n(d) is the number of legs that have a score for `d`: with
    ``missing="skip"`` (default) those that returned it, otherwise all.
    """

    name: ClassVar[str] = "comb-anz"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Divide by the number of legs that have a score."""
        return or_zero(values) / np.sum(~np.isnan(values), axis=0)
