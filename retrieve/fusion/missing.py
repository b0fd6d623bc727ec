"""What a leg says of a candidate that it did not return: the policy, as an option."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.weights import leg_name

Missing = Literal["zero", "min", "score", "skip"]
"""The normalised score of a candidate that a leg did not return.

- ``"zero"``: 0, whatever 0 means on the normalised scale (the worst in min-max, the *average* in z-score).
- ``"min"``: the lowest normalised score the leg gave for this query; 0 where it returned nothing (Pyserini's hybrid).
- ``"score"``: its true score, computed: score completion. Computed scores join the leg's list before normalising.
- ``"skip"``: none; a sum is as with 0, a maximum, minimum, mean or median is taken over the legs that returned it.
"""

Complete = Callable[[int, NDArray[np.int64], Sequence[str]], NDArray[Any] | None]
"""``complete(leg_index, rows, doc_ids) -> scores``: the true scores that a leg gives to candidates it did not return.

``rows[i]`` is the number of the query (in the order of the `Hits`) and ``doc_ids[i]`` the candidate; the answer is a
float array of the same length, or None from a leg that cannot say (it failed): that leg then adds 0 to what it did not
return. It is called once a leg, with all the missing candidates of the batch.
"""


def check_missing(missing: str) -> None:
    """Raise InputError unless this is a policy."""
    if missing not in get_args(Missing):
        raise InputError(f"missing must be one of {', '.join(get_args(Missing))}, not {missing!r}")


def fill(values: Matrix, pool: Pool, missing: Missing) -> Matrix:
    """Put the policy's value where a leg has none (NaN)."""
    if missing == "skip":
        return values
    return np.where(np.isnan(values), pool.lowest(values) if missing == "min" else 0.0, values)


def completed(answers: Sequence[Hits], complete: Complete | None) -> list[Hits]:
    """Give each leg's `Hits` the candidates of the other legs too, by their true scores.

    The provenance stays what the leg returned: a candidate that was only scored has its score there, and rank 0.

    Raises
    ------
    InputError
        Without `complete`, or when it gives another number of scores than it was asked for, or one that is NaN.
    """
    if complete is None:
        raise InputError(
            "missing='score' needs the true scores of candidates that a leg did not return: give complete=…, or choose "
            "missing='zero' or 'min'"
        )
    pool = Pool.of(answers)
    whole = []
    for index, (hits, where) in enumerate(zip(answers, pool.places, strict=True)):
        scores, absent = np.full(len(pool), np.nan), np.ones(len(pool), np.bool_)
        scores[where], absent[where] = hits.scores, False
        if absent.any():
            rows, doc_ids = pool.rows[absent], pool.ids[pool.codes[absent]].tolist()
            answer = complete(index, rows, doc_ids)
            if answer is None:
                whole.append(hits)
                continue
            found = np.asarray(answer, np.float64)
            if found.shape != rows.shape or np.isnan(found).any():
                raise InputError(
                    f"{leg_name(hits, index)!r} gave scores of shape {found.shape}, {int(np.isnan(found).sum())} of "
                    f"them NaN, for {len(rows)} candidates: one number is needed for each"
                )
            scores[absent] = found
        legs = {}
        for name, leg in hits.legs.items():
            # Of a leg that fused others, theirs were not computed.
            own = scores.copy() if len(hits.legs) == 1 else np.full(len(pool), np.nan)
            ranks = np.zeros(len(pool), np.int32)
            ranks[where], own[where] = leg.ranks, leg.scores
            legs[name] = LegColumns(ranks, own)
        whole.append(Hits.ranked(len(hits), pool.rows, pool.codes, scores, pool.ids, legs=legs))
    return whole
