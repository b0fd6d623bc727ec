"""Shares: how much of each fused score each leg brought."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits, align

FLOOR = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Each leg's part in fused scores, in columns aligned with `hits`.

    Parameters
    ----------
    hits
        The fused answer, whole.
    normalized
        For each leg the score that the fusion made of the leg's own, float64 [hits]; NaN where the leg did not return
        the hit. A leg is missing where its fusion has none (ranks alone, say).
    shares
        For each leg its part of the fused score, from 0 to 1, float64 [hits].
    """

    hits: Hits
    normalized: Mapping[str, NDArray[np.float64]]
    shares: Mapping[str, NDArray[np.float64]]

    def places(self, hits: Hits) -> NDArray[np.int64]:
        """Say where each of these hits stands among all that were fused, int64 [hits]; -1 for one that is not there."""
        return _places(self.hits, hits)


@runtime_checkable
class ExplainingFusion(Protocol):
    """A fusion that says itself what each leg added, and that can ask for scores a leg did not return."""

    def __call__(self, answers: Sequence[Hits], *, complete: Any = None) -> Hits:
        """Fuse; ``complete(leg, rows, doc_ids)`` gives a leg's true scores of candidates that it did not return."""

    def explain(self, answers: Sequence[Hits], *, complete: Any = None) -> Any:
        """Fuse; give ``hits``, and in ``legs`` by name what has ``normalized`` and ``share``, float64 [hits] each."""


def stated_shares(fusion: ExplainingFusion, answers: Sequence[Hits], complete: Any) -> Shares:
    """Fuse, and take the legs' parts from the fusion's own explanation."""
    explained = fusion.explain(answers, complete=complete)
    return Shares(
        explained.hits,
        {name: leg.normalized for name, leg in explained.legs.items()},
        {name: leg.share for name, leg in explained.legs.items()},
    )


def measured_shares(fusion: Callable[[Sequence[Hits]], Hits], answers: Sequence[Hits], fused: Hits) -> Shares:
    """Measure the legs' parts in any fusion: what each would give alone, over the sum of what all would.

    ``share(leg, d) = f(leg alone)(d) / sum over legs of f(that leg alone)(d)``, where alone means that the other legs
    returned nothing. For a fusion that adds (weighted sum, RRF, CombSUM) this is exactly the leg's summand over the
    fused score; for others it is a way of speaking. Negative parts count by their size; where all are 0, the legs that
    returned the hit share alike.

    Parameters
    ----------
    fusion
        From one `Hits` a leg to the fused one.
    answers
        What was fused, each with its own name as its only provenance.
    fused
        What came of it.
    """
    parts: dict[str, NDArray[np.float64]] = {}
    for place, answer in enumerate(answers):
        alone = fusion(
            [other if at == place else Hits.empty(len(other)).as_leg(*other.legs) for at, other in enumerate(answers)]
        )
        parts[next(iter(answer.legs))] = np.abs(_looked_up(alone, fused))
    total = np.sum(list(parts.values()), axis=0)
    returned = {name: (fused.legs[name].ranks > 0).astype(np.float64) for name in parts}
    legs = np.maximum(np.sum(list(returned.values()), axis=0), 1)
    return Shares(
        fused,
        {},
        {
            name: np.where(total > FLOOR, part / np.maximum(total, FLOOR), returned[name] / legs)
            for name, part in parts.items()
        },
    )


def _looked_up(found: Hits, wanted: Hits) -> NDArray[np.float64]:
    """Give the scores that `found` has for the hits of `wanted`, 0 where it has none."""
    places = _places(found, wanted)
    scores = np.zeros(len(places))
    scores[places >= 0] = found.scores[places[places >= 0]]
    return scores


def _places(found: Hits, wanted: Hits) -> NDArray[np.int64]:
    ids, (codes, wanted_codes) = align([found, wanted])
    keys = found.rows * max(len(ids), 1) + codes
    if not len(keys):
        return np.full(len(wanted_codes), -1)
    order = np.argsort(keys)
    asked = wanted.rows * max(len(ids), 1) + wanted_codes
    nearest = order[np.minimum(np.searchsorted(keys, asked, sorter=order), len(keys) - 1)]
    return np.where(keys[nearest] == asked, nearest, -1)
