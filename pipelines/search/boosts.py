"""Boosts: a stated part of the score for recent documents, or for those with certain values."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.filters import Fields, field_values
from indexing.filters.fields import canonical
from indexing.hits import Hits, LegColumns
from indexing.inputs import known_options, number, shown, text, whole_number
from retrieve.reranking.base import FIRST_STAGE

EXAMPLE = '{"field": "date", "half_life_days": 30, "weight": 0.2}'
DAY_MS = 86_400_000
BOOST = "boost:"
"""Begins the name of a boost in a hit's provenance."""
POOL = 100
"""Number of best hits that boosts reorder."""


@dataclass(frozen=True, slots=True)
class Boost:
    """Raise the score of documents by a declared field.

    A document's score grows by ``weight * value * spread``, where `spread` is the difference between the highest and
    the lowest score of the reordered hits, so that a weight means the same with every fusion and reranker. Where all
    scores are equal, it is that score.

    Parameters
    ----------
    field
        A declared filter field.
    values
        Documents with one of these values have the value 1, others 0.
    half_life_days
        For a date field: the value is ``0.5 ** (age / half_life_days)``, 1 for a date after `origin`.
    weight
        Above 0.
    origin
        The date from which ages count, as ISO 8601; by default now, in whole hours.
    missing
        The value of a document without the field, 0 to 1.
    """

    field: str
    values: tuple[Any, ...] | None = None
    half_life_days: float | None = None
    weight: float = 0.1
    origin: str | None = None
    missing: float = 0.0
    _origin_ms: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        text(self.field, "field")
        if (self.values is None) == (self.half_life_days is None):
            raise InputError(f"the boost of {self.field!r} takes either values or half_life_days")
        if self.values is not None:
            if isinstance(self.values, str) or not isinstance(self.values, Sequence):
                raise InputError(f"values of the boost of {self.field!r} must be a list, not {shown(self.values)}")
            object.__setattr__(self, "values", tuple(self.values))
        else:
            number(self.half_life_days, "half_life_days", above=0)
        number(self.weight, "weight", above=0)
        number(self.missing, "missing", least=0, most=1)
        # Whole hours, so that equal searches share a cached answer.
        now = time.time() // 3600 * 3_600_000
        origin = now if self.origin is None else float(canonical("date", self.origin, "origin"))
        object.__setattr__(self, "_origin_ms", int(origin))

    @classmethod
    def of(cls, given: Any) -> "Boost":
        """Return a boost given as itself or as a JSON object; an InputError names what is wrong with it."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise InputError(f"a boost must be an object, as in {EXAMPLE}, not {shown(given)}")
        known_options(given, [entry.name for entry in dataclasses.fields(cls) if entry.init], "a boost")
        if "field" not in given:
            raise InputError(f"a boost needs a field, as in {EXAMPLE}")
        return cls(**given)

    def value(self, found: Sequence[Any], wanted: frozenset[Any]) -> float:
        """Return the value, 0 to 1, of a document whose field has these values; all are in canonical form."""
        if not found:
            return self.missing
        if self.values is not None:
            return float(not wanted.isdisjoint(found))
        days = max(0.0, (self._origin_ms - max(found)) / DAY_MS)
        return float(0.5 ** (days / float(self.half_life_days or 1)))


@dataclass(frozen=True, slots=True)
class Boosts:
    """Boosts of one search.

    Parameters
    ----------
    boosts
        Each adds its part.
    pool
        Number of best hits that they reorder; the others follow below as they were.
    """

    boosts: tuple[Boost, ...]
    pool: int = POOL

    def __post_init__(self) -> None:
        if not isinstance(self.boosts, Sequence) or not all(isinstance(boost, Boost) for boost in self.boosts):
            raise InputError(f"boosts must be a list of Boost, not {shown(self.boosts)}")
        if len({boost.field for boost in self.boosts}) < len(self.boosts):
            raise InputError("boosts must be of different fields: give one boost more values")
        object.__setattr__(self, "boosts", tuple(self.boosts))
        object.__setattr__(self, "pool", whole_number(self.pool, "pool"))

    @classmethod
    def of(cls, given: Any) -> "Boosts | None":
        """Return boosts given as themselves, as one, or as a list; None for none."""
        if given is None or isinstance(given, cls):
            return given
        listed = [given] if isinstance(given, Boost | Mapping) else given
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise InputError(f"boosts must be a list of boosts, not {shown(given)}")
        return cls(tuple(map(Boost.of, listed)))

    def check(self, fields: Fields) -> None:
        """Raise an `InputError` for a field that is not declared, or of another type than the boost needs."""
        for boost in self.boosts:
            kind = fields.get(boost.field)
            if kind is None:
                raise InputError(
                    f"the boost's field {boost.field!r} is not declared: "
                    f"{', '.join(fields) or 'no fields are'} (--filter-field)"
                )
            if boost.half_life_days is not None and kind != "date":
                raise InputError(f"half_life_days needs a date field, and {boost.field!r} is a {kind}")

    def apply(self, hits: Hits, metadata: Mapping[str, Mapping[str, Any]], fields: Fields) -> Hits:
        """Return the hits in their boosted order; what each boost adds is their provenance under ``boost:FIELD``.

        Parameters
        ----------
        hits
            The hits of a query or several.
        metadata
            The metadata of the first `pool` hits of each query, by id.
        fields
            The declared fields.
        """
        head = hits.ranks <= self.pool
        scores = hits.scores.astype(np.float64)
        spread = _spread(hits, scores, head)
        legs = dict(hits.legs)
        if FIRST_STAGE not in legs:
            legs |= hits.as_leg(FIRST_STAGE).legs
        ids, reordered = hits.doc_ids, np.flatnonzero(head).tolist()
        known = {doc_id: field_values(fields, metadata[doc_id], doc_id) for doc_id in {ids[at] for at in reordered}}
        for boost in self.boosts:
            where = f"values of the boost of {boost.field!r}"
            wanted = frozenset(canonical(fields[boost.field], value, where) for value in boost.values or ())
            added = np.zeros(len(ids))
            for at in reordered:
                added[at] = boost.weight * spread[at] * boost.value(known[ids[at]].get(boost.field, ()), wanted)
            scores = scores + added
            legs[f"{BOOST}{boost.field}"] = LegColumns(head.astype(np.int32), added)
        return Hits.ranked(len(hits), hits.rows, hits.codes, scores, hits.ids, legs=legs, rare=hits.rare)


def _spread(hits: Hits, scores: NDArray[np.float64], head: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each hit the range of its query's first scores; where all are equal, their size."""
    low, high = np.full(len(hits), np.inf), np.full(len(hits), -np.inf)
    np.minimum.at(low, hits.rows[head], scores[head])
    np.maximum.at(high, hits.rows[head], scores[head])
    with np.errstate(invalid="ignore"):
        spread = high - low
    size = np.where(np.isfinite(high), np.abs(high), 0)
    spread = np.where(spread > 0, spread, np.where(size > 0, size, 1.0))
    return spread[hits.rows]
