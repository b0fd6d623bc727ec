"""Paired significance tests on per-query values: whether one system is better than another beyond chance.

Pure functions over two aligned columns with one value for each query. All three methods are in use: Student's paired
t-test, Fisher's randomisation test and the bootstrap (compared by Smucker, Allan and Carterette 2007).
`holm` bounds the probability of any false claim when several systems are compared with one baseline.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from indexing.errors import InputError
from indexing.plurals import counted

SAMPLES = 10_000
EXACT_QUERIES = 13
"""Largest number of differing queries for which all sign patterns are tried: 2 ** 13 is less than `SAMPLES`."""
CELLS = 1 << 22
"""Number of values in memory while resampling: 32 MB of float64."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference of a system from a baseline on the same queries.

    Parameters
    ----------
    difference
        The mean of system minus baseline.
    interval
        The 95% bootstrap interval of `difference` (percentiles of means over resampled queries).
    p_t
        Two-sided paired t-test; NaN for a single query.
    p_fisher
        Two-sided Fisher randomisation test of the mean difference: with up to `EXACT_QUERIES` queries that differ the
        exact share of all sign patterns, otherwise estimated from samples as ``(1 + as extreme) / (1 + samples)``.
    wins, ties, losses
        Queries on which the system is better, equal (to 1e-9), worse.
    """

    difference: float
    interval: tuple[float, float]
    p_t: float
    p_fisher: float
    wins: int
    ties: int
    losses: int


def compare_paired(system: ArrayLike, baseline: ArrayLike, *, samples: int = SAMPLES, seed: int = 0) -> Comparison:
    """Compare two systems by their values on the same queries, in the same order.

    Parameters
    ----------
    system, baseline
        [queries], finite.
    samples
        Number of samples of the randomisation test and of the bootstrap.
    seed
        Seed of the samples; equal seeds give equal results.

    Raises
    ------
    InputError
        When the columns differ in length, are empty, or hold a value that is not finite; for `samples` below 1.
    """
    ours, theirs = _column(system, "system"), _column(baseline, "baseline")
    if len(ours) != len(theirs):
        raise InputError(
            f"{counted(len(ours), 'value')} of the system and {len(theirs)} of the baseline: pair them by query"
        )
    if samples < 1:
        raise InputError(f"at least 1 sample is needed, not {samples}")
    differences = ours - theirs
    # Equal values may differ in their last bits where they were added up in another order.
    differences[np.abs(differences) < 1e-9] = 0.0
    random = np.random.default_rng(seed)
    return Comparison(
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences, samples, random),
        p_t=paired_t(differences),
        p_fisher=randomisation(differences, samples, random),
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
    )


def paired_t(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of Student's t-test that the mean difference is 0.

    Where all differences are equal, the statistic is 0 / 0 or infinite: p is 1 when they are 0, else 0. NaN for one
    query.
    """
    from scipy.special import stdtr

    count = len(differences)
    if count < 2:
        return math.nan
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if deviation <= 1e-12 * abs(mean):
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(count - 1, -abs(mean) / (deviation / math.sqrt(count))))


def randomisation(differences: NDArray[np.float64], samples: int, random: np.random.Generator) -> float:
    """Return the two-sided p-value of Fisher's randomisation test: between equal systems each sign is random.

    Queries without a difference have no sign and are left out.
    """
    differing = differences[differences != 0]
    # Sums that differ by rounding only count as equally extreme.
    extreme = abs(differing.sum()) - 1e-9 * np.abs(differing).sum()
    if len(differing) <= EXACT_QUERIES:
        patterns = np.arange(1 << len(differing))[:, None] >> np.arange(len(differing)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ differing) >= extreme))
    as_extreme = 0
    for count in _portions(samples, len(differing)):
        # Draw whole 64-bit words, so that the result does not depend on the portions.
        words = random.integers(0, 1 << 64, (count, (len(differing) + 63) // 64), dtype=np.uint64)
        signs = np.unpackbits(words.view(np.uint8), axis=1, count=len(differing))
        as_extreme += int((np.abs(differing.sum() - 2 * (signs @ differing)) >= extreme).sum())
    return (1 + as_extreme) / (1 + samples)


def bootstrap_interval(
    differences: NDArray[np.float64], samples: int, random: np.random.Generator, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of the mean over queries drawn with replacement."""
    if not differences.any():
        return 0.0, 0.0
    means = [
        differences[random.integers(0, len(differences), (count, len(differences)))].mean(axis=1)
        for count in _portions(samples, len(differences))
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests by Holm's step-down method (1979).

    Rejecting adjusted values of at most alpha keeps the probability of any false rejection at alpha. The i-th smallest
    of m becomes ``max over j <= i of min(1, (m - j + 1) * p_j)``. NaN stays NaN and counts as no test.
    """
    values = np.array(p_values, dtype=np.float64)
    adjusted = values.copy()
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1.0)
    return [float(value) for value in adjusted]


def compare_systems(
    per_query: Mapping[str, Mapping[str, ArrayLike]],
    baseline: str,
    measures: Sequence[str] | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Compare every system with the baseline, measure by measure, with Holm's correction over the systems.

    Parameters
    ----------
    per_query
        ``{system: {measure: [queries]}}``, all over the same queries in the same order.
    baseline
        One of the systems.
    measures
        Names of measures (all of the baseline's).

    Returns
    -------
    ``{system: {measure: {"baseline", "difference", "interval", "p_t", "p_fisher", "p_holm", "wins", "ties",
    "losses"}}}`` without the baseline itself, ready for JSON: undefined p-values are None. ``p_holm`` is the
    adjusted `p_fisher`.

    Raises
    ------
    InputError
        For an unknown baseline, a system that lacks a measure, or columns that cannot be paired.
    """
    if baseline not in per_query:
        raise InputError(f"the baseline {baseline!r} is none of the systems: {', '.join(per_query)}")
    others = [system for system in per_query if system != baseline]
    block: dict[str, dict[str, dict[str, Any]]] = {system: {} for system in others}
    for measure in per_query[baseline] if measures is None else measures:
        lacking = [system for system in per_query if measure not in per_query[system]]
        if lacking:
            raise InputError(
                f"the system {lacking[0]!r} has no values of {measure}; it has: {', '.join(per_query[lacking[0]])}"
            )
        found = {
            system: compare_paired(per_query[system][measure], per_query[baseline][measure], samples=samples, seed=seed)
            for system in others
        }
        adjusted = holm([comparison.p_fisher for comparison in found.values()])
        for (system, comparison), p_holm in zip(found.items(), adjusted, strict=True):
            block[system][measure] = as_json(comparison, baseline, p_holm)
    return block


def as_json(comparison: Comparison, baseline: str, p_holm: float) -> dict[str, Any]:
    """Return a comparison in the format of ``results.json``."""
    return {
        "baseline": baseline,
        "difference": comparison.difference,
        "interval": list(comparison.interval),
        "p_t": None if math.isnan(comparison.p_t) else comparison.p_t,
        "p_fisher": comparison.p_fisher,
        "p_holm": p_holm,
        "wins": comparison.wins,
        "ties": comparison.ties,
        "losses": comparison.losses,
    }


def _column(values: ArrayLike, what: str) -> NDArray[np.float64]:
    column = np.array(values, dtype=np.float64)
    if column.ndim != 1 or not len(column):
        raise InputError(f"the {what} must have one value for each query, and at least one query")
    if not np.isfinite(column).all():
        at = int(np.flatnonzero(~np.isfinite(column))[0])
        raise InputError(f"the value of the {what} for query number {at} is {column[at]}: every query needs a number")
    return column


def _portions(samples: int, queries: int) -> list[int]:
    """Split the samples into portions of at most `CELLS` values."""
    most = max(1, CELLS // queries)
    return [min(most, samples - done) for done in range(0, samples, most)]
