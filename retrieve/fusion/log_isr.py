"""Logarithmic inverse square rank."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.isr import InverseSquareRank
from retrieve.fusion.method import or_zero
from retrieve.fusion.pool import Matrix, Pool


@dataclass(frozen=True, kw_only=True)
class LogInverseSquareRank(InverseSquareRank):
    """Fuse by inverse square ranks, times the logarithm of how many legs agree (Mourão, Martins and Magalhães 2014).

    ``score(d) = ln n(d) * sum over legs of 1 / rank(d)^2`` with ranks from 1, n(d) being the number of legs that
    returned `d`: what one leg alone returned gets 0, so all of that is ordered by doc_id at the end.
    """

    name: ClassVar[str] = "log-isr"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the logarithm of the number of legs that found it."""
        return or_zero(values) * np.log(np.sum(~np.isnan(values), axis=0))
