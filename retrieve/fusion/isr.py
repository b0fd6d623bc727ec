"""Inverse square rank."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.method import FusionMethod, or_zero
from retrieve.fusion.pool import Matrix, Pool


@dataclass(frozen=True, kw_only=True)
class InverseSquareRank(FusionMethod):
    """ISR: inverse square ranks times the number of legs that agree (Mourão, Martins and Magalhães, TREC 2013).

    ``score(d) = n(d) * sum over legs of 1 / rank(d)^2`` with ranks from 1, where n(d) is the number of legs that
    returned `d`.
    """

    name: ClassVar[str] = "isr"

    def values(self, pool: Pool) -> Matrix:
        """Return ``1 / rank^2``."""
        return pool.ranks**-2.0

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the number of legs that returned the candidate."""
        return or_zero(values) * np.sum(~np.isnan(values), axis=0)
