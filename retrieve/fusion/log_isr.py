"""Logarithmic inverse square rank."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.isr import InverseSquareRank
from retrieve.fusion.method import or_zero
from retrieve.fusion.pool import Matrix, Pool


@dataclass(frozen=True, kw_only=True)
class LogInverseSquareRank(InverseSquareRank):
    """Log-ISR: inverse square ranks times the log of the number of legs (Mourão, Martins and Magalhães 2014).

    ``score(d) = ln n(d) * sum over legs of 1 / rank(d)^2`` with ranks from 1, where n(d) is the number of legs that
    returned `d`. A document that only one leg returned scores 0, so these documents come last, ordered by doc_id.
    """

    name: ClassVar[str] = "log-isr"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the logarithm of the number of legs that returned the candidate."""
        return or_zero(values) * np.log(np.sum(~np.isnan(values), axis=0))
