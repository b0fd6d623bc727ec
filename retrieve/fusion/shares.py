"""Each leg's share of each fused score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits, align

SMALLEST_TOTAL = 1e-12
"""Contributions that sum to no more than this count as none."""


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Each leg's share of the fused scores, in columns aligned with `hits`.

    Parameters
    ----------
    hits
        All fused hits.
    normalized
        Each leg's normalised score, float64 [hits]; NaN where the leg did not return the hit. Empty where the fusion
        does not report it.
    shares
        Each leg's share of the fused score, from 0 to 1, float64 [hits].
    decided
        1 where the leg's rare words put the hit first, else 0, float64 [hits]. Empty where the fusion does not report
        it.
    """

    hits: Hits
    normalized: Mapping[str, NDArray[np.float64]]
    shares: Mapping[str, NDArray[np.float64]]
    decided: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def positions(self, hits: Hits) -> NDArray[np.int64]:
        """Return the position of each of these hits among the fused ones, int64 [hits]; -1 if absent."""
        return _positions(self.hits, hits)


@runtime_checkable
class ExplainingFusion(Protocol):
    """Protocol of fusions that report each leg's contribution and can ask for scores a leg did not return."""

    def __call__(self, answers: Sequence[Hits], *, complete: Any = None) -> Hits:
        """Fuse; ``complete(leg_index, rows, doc_ids)`` computes scores of candidates that a leg did not return."""

    def explain(self, answers: Sequence[Hits], *, complete: Any = None) -> Any:
        """Fuse; return an object with ``hits``, and ``legs`` by name with ``normalized`` and ``share``, float64."""


def stated_shares(fusion: ExplainingFusion, answers: Sequence[Hits], complete: Any) -> Shares:
    """Fuse, and take the legs' shares from the fusion's own explanation."""
    explained = fusion.explain(answers, complete=complete)
    return Shares(
        explained.hits,
        {name: leg.normalized for name, leg in explained.legs.items()},
        {name: leg.share for name, leg in explained.legs.items()},
        {name: leg.decided for name, leg in explained.legs.items() if hasattr(leg, "decided")},
    )


def measured_shares(fusion: Callable[[Sequence[Hits]], Hits], answers: Sequence[Hits], fused: Hits) -> Shares:
    """Measure the legs' shares in any fusion, by fusing each leg alone.

    ``share(leg, d) = f(leg alone)(d) / sum over legs of f(that leg alone)(d)``, where alone means that the other legs
    returned nothing. For a fusion that adds (weighted sum, RRF, CombSUM) this is exactly the leg's summand over the
    fused score; for others it is an approximation. Negative scores count by their absolute value. Where all are 0, the
    legs that returned the hit have equal shares.

    Parameters
    ----------
    fusion
        Callable from one `Hits` per leg to the fused one.
    answers
        The fused hits of each leg, with the leg's name as the only provenance.
    fused
        The result of the fusion.
    """
    alone: dict[str, NDArray[np.float64]] = {}
    for number, answer in enumerate(answers):
        hits = fusion(
            [leg if at == number else Hits.empty(len(leg)).as_leg(*leg.legs) for at, leg in enumerate(answers)]
        )
        positions = _positions(hits, fused)
        present = positions >= 0
        scores = np.zeros(len(positions))
        scores[present] = np.abs(hits.scores[positions[present]])
        alone[next(iter(answer.legs))] = scores
    total = np.sum(list(alone.values()), axis=0)
    returned = {name: (fused.legs[name].ranks > 0).astype(np.float64) for name in alone}
    legs = np.maximum(np.sum(list(returned.values()), axis=0), 1)
    return Shares(
        fused,
        {},
        {
            name: np.where(total > SMALLEST_TOTAL, scores / np.maximum(total, SMALLEST_TOTAL), returned[name] / legs)
            for name, scores in alone.items()
        },
    )


def _positions(hits: Hits, wanted: Hits) -> NDArray[np.int64]:
    """Return the position in `hits` of each hit of `wanted`, -1 if absent."""
    ids, (codes, wanted_codes) = align([hits, wanted])
    keys = hits.rows * max(len(ids), 1) + codes
    if not len(keys):
        return np.full(len(wanted_codes), -1)
    order = np.argsort(keys)
    wanted_keys = wanted.rows * max(len(ids), 1) + wanted_codes
    nearest = order[np.minimum(np.searchsorted(keys, wanted_keys, sorter=order), len(keys) - 1)]
    return np.where(keys[nearest] == wanted_keys, nearest, -1)
