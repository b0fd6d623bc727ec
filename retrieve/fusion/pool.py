"""Pool of all legs' candidates, each query's candidates once, and matrices of the legs' values for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns, StringArray, align

Matrix = NDArray[np.float64]
"""float64 [legs, candidates]; a candidate is one document of one query."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """All candidates of a batch of queries, sorted by query.

    Parameters
    ----------
    answers
        The legs' `Hits`, all for the same queries.
    ids
        The table of doc_ids.
    rows, codes
        int64 [candidates], each candidate's query, and the position of its doc_id in `ids`.
    candidates
        For each leg int64 [its hits], the number of each hit's candidate.
    """

    answers: tuple[Hits, ...]
    ids: StringArray
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    candidates: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, answers: Sequence[Hits]) -> Self:
        """Join the legs' hits.

        Raises
        ------
        InputError
            For no leg, legs that answer different numbers of queries, or two legs with one name.
        """
        if not answers:
            raise InputError("there is no leg to fuse")
        if len({len(hits) for hits in answers}) > 1:
            raise InputError(f"the legs answer different numbers of queries: {[len(hits) for hits in answers]}")
        names = [name for hits in answers for name in hits.legs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"two legs are called {twice!r}: give each its own name")
        ids, codes = align(answers)
        base = max(len(ids), 1)
        keys = np.concatenate([hits.rows * base + code for hits, code in zip(answers, codes, strict=True)])
        merged, candidates = np.unique(keys, return_inverse=True)
        parts = np.split(candidates, np.cumsum([len(code) for code in codes])[:-1])
        return cls(tuple(answers), ids, merged // base, merged % base, tuple(parts))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def queries(self) -> int:
        """Number of queries."""
        return len(self.answers[0])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of candidates of each candidate's query, int64 [candidates]."""
        return np.bincount(self.rows, minlength=self.queries)[self.rows]

    def spread(self, columns: Sequence[NDArray[np.number]]) -> Matrix:
        """Align one column per leg, given by its hits, with the candidates; NaN where the leg did not return one."""
        matrix = np.full((len(self.answers), len(self)), np.nan)
        for row, candidates, column in zip(matrix, self.candidates, columns, strict=True):
            row[candidates] = column
        return matrix

    @property
    def ranks(self) -> Matrix:
        """Rank of each candidate in each leg, from 1; NaN where the leg did not return it."""
        return self.spread([hits.ranks for hits in self.answers])

    def lowest(self, values: Matrix) -> Matrix:
        """Return each leg's lowest value for each candidate's query; 0 where the leg has none."""
        lows = np.full((len(values), self.queries), np.inf)
        for low, row in zip(lows, values, strict=True):
            known = ~np.isnan(row)
            np.minimum.at(low, self.rows[known], row[known])
        lows[np.isinf(lows)] = 0.0
        return lows[:, self.rows]

    def ranked(self, contributions: Matrix, carried: Sequence[Matrix] = ()) -> tuple[Hits, list[Matrix]]:
        """Sum each candidate's contributions and rank by the sums.

        Parameters
        ----------
        contributions
            Without NaN.
        carried
            Other matrices to put into the order of the hits.

        Returns
        -------
        hits
            Float64 scores, with the provenance of every leg.
        matrices
            The `carried` matrices, float64 [legs, hits].
        """
        legs: dict[str, LegColumns] = {}
        for hits, candidates in zip(self.answers, self.candidates, strict=True):
            for name, leg in hits.legs.items():
                ranks, scores = np.zeros(len(self), np.int32), np.full(len(self), np.nan)
                ranks[candidates], scores[candidates] = leg.ranks, leg.scores
                legs[name] = LegColumns(ranks, scores)
        # Carried as extra legs, the matrices are ordered by the same code as the hits.
        no_ranks = np.zeros(len(self), np.int32)
        extra = {
            f"\0{number} {row}": LegColumns(no_ranks, matrix[row])
            for number, matrix in enumerate(carried)
            for row in range(len(matrix))
        }
        fused = Hits.ranked(
            self.queries, self.rows, self.codes, ordered_sum(contributions), self.ids, legs={**legs, **extra}
        )
        matrices = [
            np.stack([fused.legs[f"\0{number} {row}"].scores for row in range(len(matrix))])
            for number, matrix in enumerate(carried)
        ]
        provenance = {name: fused.legs[name] for name in legs}
        return Hits(fused.offsets, fused.codes, fused.scores, fused.ids, provenance), matrices


def ordered_sum(contributions: Matrix) -> NDArray[np.float64]:
    """Sum over the legs, each candidate's smallest contribution first.

    Summing floats in another order can change the last bit; ties would then depend on the order of the legs.
    """
    if len(contributions) > 2:
        contributions = np.sort(contributions, axis=0)
    return np.add.reduce(contributions, axis=0)
