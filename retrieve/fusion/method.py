"""Base classes of fusion methods: options as a value that fuses, explains its scores and has a configuration."""

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
    """One leg's part in the fused scores, in columns aligned with the fused hits, each float64 [hits].

    Parameters
    ----------
    normalized
        The leg's score on the fused scale (for a method of ranks, the value of the rank before weights); NaN where
        the leg has none.
    contribution
        The leg's summand in the fused score: the legs' contributions sum to the score.
    share
        ``|contribution| / sum over legs of |contribution|``; 0 where no leg contributed.
    decided
        1 where the leg alone put the hit first, because it contains rare words of the query; else 0.
    """

    normalized: NDArray[np.float64]
    contribution: NDArray[np.float64]
    share: NDArray[np.float64]
    decided: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The fused `hits`, and each leg's part in their scores by the leg's name."""

    hits: Hits
    legs: Mapping[str, LegShare]

    def top(self, k: int) -> "Explanation":
        """Keep the best `k` hits of each query."""
        keep = self.hits.ranks <= k
        return Explanation(
            self.hits.where(keep),
            {
                name: LegShare(leg.normalized[keep], leg.contribution[keep], leg.share[keep], leg.decided[keep])
                for name, leg in self.legs.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class FusionMethod(ABC):
    """Base class of fusions with their options: a callable from one `Hits` per leg to the fused `Hits`.

    Equal scores are ordered by doc_id. The results of a method that treats all legs alike do not depend on the legs'
    order.

    Parameters
    ----------
    missing
        The score of a candidate that a leg did not return (`Missing`). Methods of ranks support ``"zero"`` (a missing
        rank adds nothing) and ``"score"`` (each leg also ranks the other legs' candidates, by their true scores).
    """

    name: ClassVar[str]
    policies: ClassVar[tuple[str, ...]] = ("zero", "score")

    missing: Missing = "zero"

    def __post_init__(self) -> None:
        check_missing(self.missing)
        if self.missing not in self.policies:
            raise InputError(
                f"{self.name} supports missing={' or '.join(map(repr, self.policies))}, not {self.missing!r}"
            )

    def __call__(self, answers: Sequence[Hits], *, complete: Complete | None = None) -> Hits:
        """Fuse the legs' hits.

        Parameters
        ----------
        answers
            One `Hits` per leg, all for the same queries.
        complete
            Computes true scores for ``missing="score"``.

        Returns
        -------
        Hits
            Float64 scores, with the provenance of every leg.

        Raises
        ------
        InputError
            For no leg, different numbers of queries, two legs with one name, or options that do not fit the legs.
        """
        pool = self._pool(answers, complete)
        return pool.ranked(self.contributions(self.values(pool), pool))[0]

    def explain(self, answers: Sequence[Hits], *, complete: Complete | None = None) -> Explanation:
        """Fuse, and return each leg's part in each score; a leg without a name is called ``leg 1`` by its position."""
        pool = self._pool(answers, complete)
        values = self.values(pool)
        contributions = self.contributions(values, pool)
        size = np.abs(contributions)
        total = size.sum(axis=0)
        shares = np.divide(size, total, out=np.zeros_like(size), where=total > 0)
        hits, columns = pool.ranked(contributions, [values, contributions, shares, self.decided(pool)])
        names = [leg_name(leg, position) for position, leg in enumerate(answers)]
        return Explanation(hits, {name: LegShare(*parts) for name, *parts in zip(names, *columns, strict=True)})

    def as_config(self) -> dict[str, Any]:
        """Return the options as plain values for a configuration file; `fusion_from_config` reads them."""
        options = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        if option := next((name for name, value in options.items() if callable(value)), None):
            raise InputError(f"{option} is a function of your own: a configuration can only name a built-in one")
        return {"method": self.name, **{name: value for name, value in options.items() if value is not None}}

    def fit(self, answers: Sequence[Hits]) -> None:  # noqa: B027  # most methods have no options by leg
        """Raise InputError for options by leg that do not fit these legs; called before any work."""

    @abstractmethod
    def values(self, pool: Pool) -> Matrix:
        """Bring the legs onto one scale; NaN where a leg has no value for a candidate."""

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Return each leg's summand in each candidate's fused score, without NaN; by default the value itself."""
        return or_zero(values)

    def decided(self, pool: Pool) -> Matrix:
        """Return 1 where a leg's rare words put a candidate first, else 0, float64 [legs, candidates]."""
        return np.zeros((len(pool.answers), len(pool)))

    def _pool(self, answers: Sequence[Hits], complete: Complete | None) -> Pool:
        pool = Pool.of(answers)
        self.fit(answers)
        return Pool.of(completed(answers, complete)) if self.missing == "score" else pool


@dataclass(frozen=True, kw_only=True)
class WeightedMethod(FusionMethod):
    """Base class of fusions in which legs have weights.

    Parameters
    ----------
    weights
        One weight per leg, in the legs' order or by their names; 1 each by default.
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
        """Return the legs' weights as a column, float64 [legs, 1]."""
        return np.array(leg_weights(pool.answers, self.weights))[:, np.newaxis]


def or_zero(values: Matrix) -> Matrix:
    """Replace NaN by 0."""
    return np.where(np.isnan(values), 0.0, values)


def plain(value: Any) -> Any:
    """Return a value as dicts, lists and Python numbers, which YAML and JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return [plain(item) for item in value]

    return value.item() if isinstance(value, np.generic) else value
