"""Comparison of two results folders: the same systems, or any pairs, query by query."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexing.errors import InputError
from pipelines.evaluation.results import DatasetResult, Results, SystemResult, read_per_query
from pipelines.measures.evaluate import Scores
from pipelines.measures.significance import Comparison, compare_paired, holm


@dataclass(frozen=True, slots=True)
class Side:
    """Comparison of one system of the first results with one of the second, by one measure.

    Parameters
    ----------
    first, second
        The systems' names.
    means
        Their means, in the same order.
    comparison, p_holm
        Second minus first, with Holm's correction over the pairs of one dataset and measure; None where the two cannot
        be paired.
    unpaired
        Reason why the two cannot be paired.
    """

    dataset: str
    measure: str
    first: str
    second: str
    means: tuple[float, float]
    comparison: Comparison | None = None
    p_holm: float | None = None
    unpaired: str | None = None


def compare_results(
    first: Results,
    second: Results,
    *,
    systems: Mapping[str, str] | None = None,
    measures: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
) -> list[Side]:
    """Compare two results by their common systems, datasets and measures.

    Parameters
    ----------
    systems
        ``{system of the first: system of the second}`` (those of the same name).
    measures, datasets
        Names to compare (all that both have).

    Raises
    ------
    InputError
        When a given dataset, system or measure is not in both, or when there is nothing in common; the message lists
        what exists.
    """
    names = _shared("dataset", datasets, first.datasets, second.datasets)
    wanted = _shared("measure", measures, first.measures, second.measures)
    sides: list[Side] = []
    for name in names:
        pairs = _pairs(systems, first.datasets[name], second.datasets[name])
        values = [_values(*pair) for pair in pairs]
        for measure in wanted:
            found = [_side(name, measure, *pair, both) for pair, both in zip(pairs, values, strict=True)]
            sides += _corrected(found)
    if not sides:
        raise InputError(
            "the two have no system in common in any dataset; name pairs as systems (--systems): "
            f"the first has {_listed(first, names)}, the second {_listed(second, names)}"
        )
    return sides


def _side(
    dataset: str, measure: str, ours: SystemResult, theirs: SystemResult, values: tuple[Scores, Scores] | str
) -> Side:
    for system in (ours, theirs):
        if measure not in system.measures:
            raise InputError(f"the system {system.name!r} has no {measure} on {dataset}")
    means = ours.measures[measure], theirs.measures[measure]
    side = Side(dataset, measure, ours.name, theirs.name, means)
    if isinstance(values, str):
        return replace(side, unpaired=values)
    mine, other = values
    if measure not in mine.per_query or measure not in other.per_query:
        return replace(side, unpaired=f"there are no per-query values of {measure}")
    place = {query_id: at for at, query_id in enumerate(other.query_ids)}
    order = np.array([place[query_id] for query_id in mine.query_ids])
    return replace(side, comparison=compare_paired(other.per_query[measure][order], mine.per_query[measure]))


def _values(ours: SystemResult, theirs: SystemResult) -> tuple[Scores, Scores] | str:
    """Return both systems' values, or the reason why they cannot be paired."""
    try:
        mine, other = read_per_query(ours), read_per_query(theirs)
    except InputError as error:
        return str(error)
    lost, new = set(mine.query_ids) - set(other.query_ids), set(other.query_ids) - set(mine.query_ids)
    if lost or new:
        example = min(lost or new)
        return f"the queries differ: {len(lost)} only in the first, {len(new)} only in the second ({example!r} for one)"
    return mine, other


def _corrected(sides: list[Side]) -> list[Side]:
    tested = [side.comparison.p_fisher for side in sides if side.comparison]
    adjusted = iter(holm(tested))
    return [replace(side, p_holm=next(adjusted)) if side.comparison else side for side in sides]


def _pairs(
    systems: Mapping[str, str] | None, first: DatasetResult, second: DatasetResult
) -> list[tuple[SystemResult, SystemResult]]:
    if systems is None:
        systems = {name: name for name in first.systems if name in second.systems}
    for names, result, which in ((systems, first, "first"), (systems.values(), second, "second")):
        unknown = [name for name in names if name not in result.systems]
        if unknown:
            raise InputError(
                f"the {which} has no system {unknown[0]!r} on {result.name}; it has: {', '.join(result.systems)}"
            )
    return [(first.systems[ours], second.systems[theirs]) for ours, theirs in systems.items()]


def _shared(what: str, asked: Sequence[str] | None, first: Collection[str], second: Collection[str]) -> list[str]:
    shared = [name for name in first if name in second]
    unknown = [name for name in asked or [] if name not in shared]
    if unknown or not shared:
        said = f"{what} {unknown[0]!r} is not in both" if unknown else f"no {what} is in both"
        raise InputError(f"{said}: the first has {', '.join(first)}; the second {', '.join(second)}")
    return list(asked) if asked else shared


def _listed(results: Results, datasets: Sequence[str]) -> str:
    found = dict.fromkeys(name for dataset in datasets for name in results.datasets[dataset].systems)
    return ", ".join(found) or "none"
