"""The pool: every candidate of every query once, with what each leg says of it, as one matrix a column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns, StringArray, align

Matrix = NDArray[np.float64]
"""float64 [legs, candidates]: one row a leg, one column a candidate of a query."""


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
        int64 [candidates]: the query that each candidate answers, and its position in `ids`.
    places
        For each leg, int64 [its hits]: the candidate that each hit is.
    """

    answers: tuple[Hits, ...]
    ids: StringArray
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    places: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, answers: Sequence[Hits]) -> Self:
        """Join the legs' hits.

        Raises
        ------
        InputError
            No leg, legs that answer different numbers of queries, or two legs of one name.
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
        merged, places = np.unique(keys, return_inverse=True)
        parts = np.split(places, np.cumsum([len(code) for code in codes])[:-1])
        return cls(tuple(answers), ids, merged // base, merged % base, tuple(parts))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def queries(self) -> int:
        """How many queries were asked."""
        return len(self.answers[0])

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many candidates each candidate's query has, int64 [candidates]."""
        return np.bincount(self.rows, minlength=self.queries)[self.rows]

    def spread(self, columns: Sequence[NDArray[np.number]]) -> Matrix:
        """Lay one column a leg, aligned with its hits, over the candidates: NaN where the leg returned none."""
        matrix = np.full((len(self.answers), len(self)), np.nan)
        for row, where, column in zip(matrix, self.places, columns, strict=True):
            row[where] = column
        return matrix

    @property
    def ranks(self) -> Matrix:
        """The rank of each candidate in each leg, from 1; NaN where the leg did not return it."""
        return self.spread([hits.ranks for hits in self.answers])

    def lowest(self, values: Matrix) -> Matrix:
        """Give each candidate the lowest value that each leg has for its query; 0 where the leg has none."""
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
            Other matrices to be brought into the order of the hits.

        Returns
        -------
        hits
            Scores float64, with the provenance of every leg.
        matrices
            Those of `carried`, float64 [legs, hits].
        """
        legs: dict[str, LegColumns] = {}
        for hits, where in zip(self.answers, self.places, strict=True):
            for name, leg in hits.legs.items():
                ranks, scores = np.zeros(len(self), np.int32), np.full(len(self), np.nan)
                ranks[where], scores[where] = leg.ranks, leg.scores
                legs[name] = LegColumns(ranks, scores)
        # Whatever rides along as further legs is ordered in the one place where the order is made.
        none = np.zeros(len(self), np.int32)
        riders = {
            f"\0{number} {row}": LegColumns(none, matrix[row])
            for number, matrix in enumerate(carried)
            for row in range(len(matrix))
        }
        fused = Hits.ranked(
            self.queries, self.rows, self.codes, ordered_sum(contributions), self.ids, legs={**legs, **riders}
        )
        matrices = [
            np.stack([fused.legs[f"\0{number} {row}"].scores for row in range(len(matrix))])
            for number, matrix in enumerate(carried)
        ]
        provenance = {name: fused.legs[name] for name in legs}
        return Hits(fused.offsets, fused.codes, fused.scores, fused.ids, provenance), matrices


def ordered_sum(contributions: Matrix) -> NDArray[np.float64]:
    """Sum over the legs, each candidate's smallest contribution first.

    Floats that are summed in another order may differ in their last bit, and a tie would then hang on the order of
    the legs.
    """
    if len(contributions) > 2:
        contributions = np.sort(contributions, axis=0)
    return np.add.reduce(contributions, axis=0)
