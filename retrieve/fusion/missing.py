"""Scores of candidates that a leg did not return."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns
from indexing.plurals import counted
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.weights import leg_name

Missing = Literal["zero", "min", "score", "skip"]
"""Policy for the normalised score of a candidate that a leg did not return.

- ``"zero"``: 0, whatever 0 means on the normalised scale (the lowest score in min-max, the *average* in z-score).
- ``"min"``: the leg's lowest normalised score for this query; 0 where it returned nothing (Pyserini's hybrid).
- ``"score"``: the true score, computed by the leg (score completion). It joins the leg's list before normalising.
- ``"skip"``: none. Sums are as with 0; a maximum, minimum, mean or median is over the legs that returned it.
"""

Complete = Callable[[int, NDArray[np.int64], Sequence[str]], NDArray[Any] | None]
"""``complete(leg_index, rows, doc_ids) -> scores``: computes a leg's true scores of candidates it did not return.

``rows[i]`` is the query's row in the `Hits` and ``doc_ids[i]`` the candidate. The result is a float array of the same
length, or None if the leg failed; the leg then adds 0 to those candidates. Called once per leg, with all missing
candidates of the batch.
"""


def check_missing(missing: str) -> None:
    """Raise InputError for an unknown policy."""
    if missing not in get_args(Missing):
        raise InputError(f"missing must be one of {', '.join(get_args(Missing))}, not {missing!r}")


def fill(values: Matrix, pool: Pool, missing: Missing) -> Matrix:
    """Replace NaN, which marks missing candidates, by the policy's value."""
    if missing == "skip":
        return values
    return np.where(np.isnan(values), pool.lowest(values) if missing == "min" else 0.0, values)


def completed(answers: Sequence[Hits], complete: Complete | None) -> list[Hits]:
    """Add the other legs' candidates to each leg's `Hits`, with their true scores.

    The provenance still holds the ranks that the leg returned: an added candidate has its score there, and rank 0.

    Raises
    ------
    InputError
        Without `complete`, or when it returns a wrong number of scores or NaN.
    """
    if complete is None:
        raise InputError(
            "missing='score' needs the true scores of candidates that a leg did not return: pass complete=…, or choose "
            "missing='zero' or 'min'"
        )
    pool = Pool.of(answers)
    extended = []
    for index, (hits, candidates) in enumerate(zip(answers, pool.candidates, strict=True)):
        scores, absent = np.full(len(pool), np.nan), np.ones(len(pool), np.bool_)
        scores[candidates], absent[candidates] = hits.scores, False
        rare = None
        if hits.rare is not None:
            rare = np.zeros(len(pool), np.bool_)
            rare[candidates] = hits.rare
        if absent.any():
            rows, doc_ids = pool.rows[absent], pool.ids[pool.codes[absent]].tolist()
            computed = complete(index, rows, doc_ids)
            if computed is None:
                extended.append(hits)
                continue
            computed = np.asarray(computed, np.float64)
            if computed.shape != rows.shape or np.isnan(computed).any():
                raise InputError(
                    f"{leg_name(hits, index)!r} returned scores of shape {computed.shape}, "
                    f"{int(np.isnan(computed).sum())} of them NaN, for {counted(len(rows), 'candidate')}: one "
                    f"number is needed "
                    "for each"
                )
            scores[absent] = computed
        legs = {}
        for name, leg in hits.legs.items():
            # The scores of the legs inside a leg that is itself a fusion were not computed.
            own = scores.copy() if len(hits.legs) == 1 else np.full(len(pool), np.nan)
            ranks = np.zeros(len(pool), np.int32)
            ranks[candidates], own[candidates] = leg.ranks, leg.scores
            legs[name] = LegColumns(ranks, own)
        extended.append(Hits.ranked(len(hits), pool.rows, pool.codes, scores, pool.ids, legs=legs, rare=rare))
    return extended
