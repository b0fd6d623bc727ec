"""Command-line options of everything that scores, and the plan they stand for."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from indexing.errors import InputError, ModelError
from pipelines.evaluation.systems import (
    BUILT_IN,
    HYBRID_RERANK,
    HYBRIDS,
    MULTIFIELD,
    LegSpec,
    Plan,
    built_in,
    check_name,
    read_systems,
)
from pipelines.measures import DEFAULT_MEASURES

NO_SYSTEM = "none"


def add_system_options(parser: argparse.ArgumentParser) -> None:
    """Add which systems are scored, and how each is made up."""
    systems = parser.add_argument_group("systems")
    systems.add_argument(
        "--systems",
        metavar="NAMES",
        help=f"of {', '.join(BUILT_IN)}; 'none' for imported runs only (all; with --systems-file none of these)",
    )
    systems.add_argument(
        "--systems-file",
        metavar="FILE",
        help="more systems, as YAML or JSON: {legs: {bge: {kind: dense, model: BAAI/bge-base-en-v1.5}}, systems: "
        "[{name: a, legs: [bm25, bge], fusion: rrf, weights: [1, 2], depth: 200, reranker: MODEL, candidates: 100}]}",
    )
    systems.add_argument(
        "--run",
        dest="runs",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="score another's TREC run beside them; {dataset} in FILE stands for the dataset's name; may be repeated",
    )
    systems.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    systems.add_argument("--sparse", metavar="MODEL", help="a SPLADE encoder; without one the system sparse is not run")
    systems.add_argument(
        "--reranker", metavar="MODEL", help="a cross-encoder (without one: late interaction with the dense encoder)"
    )
    systems.add_argument("--fusion", metavar="METHOD", help="rrf, weighted-sum, comb-mnz, … (what a search does)")
    systems.add_argument("--candidates", type=int, default=50, metavar="N", help="hits the reranker reads (50)")
    systems.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of the models (auto)"
    )


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add how answers are scored and compared."""
    scoring = parser.add_argument_group("scoring")
    defaults = ",".join(DEFAULT_MEASURES)
    scoring.add_argument("--measures", default=defaults, metavar="NAMES", help=f"({defaults})")
    scoring.add_argument("--k", type=int, default=100, help="hits a query (100)")
    scoring.add_argument("--baseline", metavar="SYSTEM", help="what the others are compared with (the first system)")
    scoring.add_argument("--limit-queries", type=int, metavar="N", help="only N queries, the same ones each time")
    scoring.add_argument(
        "--self-hits",
        choices=["auto", "drop", "keep"],
        default="auto",
        help="hits whose id is the query's own: left out where queries are documents (ArguAna, Quora, SciDocs, "
        "CQADupStack), everywhere, or nowhere (auto)",
    )
    scoring.add_argument("--no-report", action="store_true", help="write no report.html")
    scoring.add_argument("--no-timing", action="store_true", help="do not time single searches")


def check_options(options: argparse.Namespace) -> None:
    """Check what argparse cannot.

    Raises
    ------
    InputError
        For a number below 1.
    """
    for name in ("k", "candidates", "limit_queries"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}")


def settings_of(options: argparse.Namespace) -> Any:
    """Make the harness's settings."""
    from pipelines.evaluation.task import Settings

    # A comma within parentheses belongs to the measure: nDCG(gains=exp,judged_only=True)@10.
    names = re.split(r",(?![^()]*\))", options.measures)
    measures = tuple(name.strip() for name in names if name.strip())
    return Settings(k=options.k, measures=measures, timing=not options.no_timing)


def imported_runs(options: argparse.Namespace) -> dict[str, str]:
    """Read ``--run NAME=FILE``."""
    runs: dict[str, str] = {}
    for given in options.runs:
        name, equals, path = given.partition("=")
        if not (name and equals and path):
            raise InputError(f"--run takes NAME=FILE, as in --run theirs=theirs.trec, not {given!r}")
        check_name("run", name)
        if name in runs:
            raise InputError(f"two runs are called {name!r}: give each its own name")
        runs[name] = path
    return runs


def plan_of(options: argparse.Namespace, models: Any, legs: Mapping[str, LegSpec] | None = None) -> Plan:
    """Make the plan: the built-in systems that were asked for and can be run, and those of the file.

    Parameters
    ----------
    options
        Of `add_system_options`.
    models
        Where models come from; each that is named is loaded here, so that a wrong name stops the job at once.
    legs
        The legs there are; by default BM25, a dense one, and a sparse one where ``--sparse`` names its model.

    Raises
    ------
    InputError, ModelError
        For an unknown system, or a model that was named and cannot be loaded.
    """
    there = dict(legs or _usual_legs(options))
    names, known = _asked(options, there), (*there, *HYBRIDS)
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise InputError(f"unknown system {unknown!r}: there are {', '.join(known)}")
    fused = set(there) - {MULTIFIELD} if set(names) & set(HYBRIDS) else set()
    needed = [leg for leg in there.values() if leg.name in names or leg.name in fused]
    not_run: dict[str, str] = {}
    usable = [leg for leg in needed if legs or _has_model(leg, models, not_run)]
    shared = {"reranker": options.reranker, "fusion": options.fusion, "candidates": options.candidates}
    systems = []
    for name in names:
        if name in HYBRIDS and (reason := _no_hybrid(name, usable, options.reranker)):
            not_run[name] = reason
        elif name not in not_run:
            parts = [leg.name for leg in usable if name not in HYBRIDS or leg.name != MULTIFIELD]
            systems += built_in([name], parts, **shared)
    if options.systems_file:
        more = read_systems(options.systems_file, there)
        there = dict(more.legs)
        systems += more.systems
        for name in sorted({name for system in more.systems for name in system.legs}):
            if not legs or there[name].model is not None:
                models.encoder(there[name])
    for system in systems:
        models.reranker_identity(system)
    return Plan(there, tuple(systems), {name: not_run[name] for name in names if name in not_run})


def _usual_legs(options: argparse.Namespace) -> dict[str, LegSpec]:
    return {
        "bm25": LegSpec("bm25", "bm25"),
        MULTIFIELD: LegSpec(MULTIFIELD, "bm25", fields={"title": 1.0, "text": 1.0}),
        "dense": LegSpec("dense", "dense", options.dense, options.dtype, options.dense_index),
        "sparse": LegSpec("sparse", "sparse", options.sparse, options.dtype),
    }


def _asked(options: argparse.Namespace, legs: Mapping[str, LegSpec]) -> list[str]:
    """Give the built-in systems that were asked for, in the table's order, unknown ones last."""
    if options.systems is None:
        return [] if options.systems_file else [*(name for name in legs if name != MULTIFIELD), *HYBRIDS]
    given = [name for part in options.systems.split(",") if (name := part.strip()) and name != NO_SYSTEM]
    ordered = [name for name in (*legs, *HYBRIDS) if name in given]
    return ordered + [name for name in given if name not in ordered]


def _has_model(leg: LegSpec, models: Any, not_run: dict[str, str]) -> bool:
    """Load a leg's encoder; one that was not named may be missing, which is written down."""
    try:
        models.encoder(leg)
    except ModelError as error:
        if leg.model:
            raise
        not_run[leg.name] = str(error)
        return False
    return True


def _no_hybrid(name: str, usable: Sequence[LegSpec], reranker: str | None) -> str | None:
    """Say why there can be no hybrid of these legs, if that is so."""
    if len(usable) < 2:
        return f"a hybrid needs two legs, and there is only {usable[0].name if usable else 'none'}"
    if name == HYBRID_RERANK and reranker is None and not any(leg.kind == "dense" for leg in usable):
        return "no --reranker was given, and late interaction needs a dense encoder"
    return None
