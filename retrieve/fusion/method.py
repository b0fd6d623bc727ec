"""FusionMethod: what every fusion is: options as a value, that fuses, explains itself, and can be written down."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.missing import Complete, Missing, check_missing, completed
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.weights import Weights, check_numbers, leg_name, leg_weights


@dataclass(frozen=True, slots=True, eq=False)
class LegShare:
    """One leg's part in a fusion, aligned with the fused hits; each column float64 [hits].

    Parameters
    ----------
    normalized
        The leg's score on the scale that was fused (for a method of ranks, what the rank is worth before weights);
        NaN where the leg had nothing to say.
    contribution
        What it added to the fused score: the legs' contributions sum to it.
    share
        ``|contribution| / sum over legs of |contribution|``: 0 where no leg added anything.
    """

    normalized: NDArray[np.float64]
    contribution: NDArray[np.float64]
    share: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Fused `hits`, and by each leg's name its part in them."""

    hits: Hits
    legs: Mapping[str, LegShare]

    def top(self, k: int) -> "Explanation":
        """Keep the best `k` of each query."""
        keep = self.hits.ranks <= k
        return Explanation(
            self.hits.where(keep),
            {
                name: LegShare(leg.normalized[keep], leg.contribution[keep], leg.share[keep])
                for name, leg in self.legs.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class FusionMethod(ABC):
    """A fusion with its options: call it with one `Hits` a leg, and it gives the fused ones.

    Equal scores are ordered by doc_id. A method that treats its legs alike gives equal results in any order of them.

    Parameters
    ----------
    missing
        What a leg says of a candidate it did not return (`Missing`). Methods of ranks know ``"zero"`` (no rank adds
        nothing) and ``"score"`` (each leg ranks the others' candidates too, by their true scores).
    """

    name: ClassVar[str]
    policies: ClassVar[tuple[str, ...]] = ("zero", "score")

    missing: Missing = "zero"

    def __post_init__(self) -> None:
        check_missing(self.missing)
        if self.missing not in self.policies:
            raise InputError(f"{self.name} knows missing={' or '.join(map(repr, self.policies))}, not {self.missing!r}")

    def __call__(self, answers: Sequence[Hits], *, complete: Complete | None = None) -> Hits:
        """Fuse.

        Parameters
        ----------
        answers
            One `Hits` a leg, all for the same queries.
        complete
            With ``missing="score"``, who computes true scores.

        Returns
        -------
        Hits
            Scores float64; provenance of every leg carried along.

        Raises
        ------
        InputError
            No leg, legs that answer different numbers of queries, two legs of one name, options that do not fit them.
        """
        pool = self._pool(answers, complete)
        return pool.ranked(self.contributions(self.values(pool), pool))[0]

    def explain(self, answers: Sequence[Hits], *, complete: Complete | None = None) -> Explanation:
        """Fuse, and say what each leg added to each hit; a leg without a name is called by its place, ``leg 1``."""
        pool = self._pool(answers, complete)
        values = self.values(pool)
        contributions = self.contributions(values, pool)
        size = np.abs(contributions)
        whole = size.sum(axis=0)
        shares = np.divide(size, whole, out=np.zeros_like(size), where=whole > 0)
        hits, columns = pool.ranked(contributions, [values, contributions, shares])
        names = [leg_name(leg, place) for place, leg in enumerate(answers)]
        return Explanation(hits, {name: LegShare(*parts) for name, *parts in zip(names, *columns, strict=True)})

    def as_config(self) -> dict[str, Any]:
        """Give the options as plain values for a configuration file: `fusion_from_config` reads them."""
        options = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        if strange := next((name for name, value in options.items() if callable(value)), None):
            raise InputError(f"{strange} is a function of your own: a configuration can only name one of ours")
        return {"method": self.name, **{name: value for name, value in options.items() if value is not None}}

    def fit(self, answers: Sequence[Hits]) -> None:  # noqa: B027  # most methods have no options by leg
        """Raise InputError where options by leg do not fit these legs; called before any work."""

    @abstractmethod
    def values(self, pool: Pool) -> Matrix:
        """Bring the legs onto one scale: NaN where a leg has nothing to say of a candidate."""

    @abstractmethod
    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Give what each leg adds to each candidate's fused score, without NaN."""

    def _pool(self, answers: Sequence[Hits], complete: Complete | None) -> Pool:
        pool = Pool.of(answers)
        self.fit(answers)
        return Pool.of(completed(answers, complete)) if self.missing == "score" else pool


@dataclass(frozen=True, kw_only=True)
class WeightedMethod(FusionMethod):
    """A fusion in which legs have weights.

    Parameters
    ----------
    weights
        One for each leg, in their order or by their names; 1 each by default.
    """

    weights: Weights | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None:
            check_numbers(self.weights, "weights")

    def fit(self, answers: Sequence[Hits]) -> None:
        """Check that there is one weight for each leg."""
        leg_weights(answers, self.weights)

    def column(self, pool: Pool) -> Matrix:
        """Give the legs' weights as a column, float64 [legs, 1]."""
        return np.array(leg_weights(pool.answers, self.weights))[:, np.newaxis]


def or_zero(values: Matrix) -> Matrix:
    """Put 0 where there is no value."""
    return np.where(np.isnan(values), 0.0, values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
