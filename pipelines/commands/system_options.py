"""Command-line options of the commands that score systems, and the plan that they describe."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError, ModelError
from pipelines.commands.command import split_names
from pipelines.evaluation.systems import (
    BUILT_IN,
    COLBERT,
    HYBRID_RERANK,
    HYBRIDS,
    MULTIFIELD,
    LegSpec,
    Plan,
    built_in,
    check_name,
)
from pipelines.measures import DEFAULT_MEASURES

if TYPE_CHECKING:
    from pipelines.models import Models

NO_SYSTEM = "none"


def add_system_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the systems and their parts."""
    systems = parser.add_argument_group("systems")
    systems.add_argument(
        "--systems",
        metavar="NAMES",
        help=f"of {', '.join(BUILT_IN)}; 'none' for imported runs only (all; none of these with --systems-file)",
    )
    systems.add_argument(
        "--systems-file",
        metavar="FILE",
        help="more systems, as YAML or JSON: {legs: {bge: {kind: dense, model: BAAI/bge-base-en-v1.5}}, systems: "
        "[{name: a, legs: [bm25, bge], fusion: {method: rrf, weights: [1, 2]}, depth: 200, "
        "reranker: {model: MODEL, candidates: 100}}]}",
    )
    systems.add_argument(
        "--run",
        dest="runs",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="also score a TREC run from elsewhere; {dataset} in FILE is replaced by the dataset's name; repeatable",
    )
    systems.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    systems.add_argument("--sparse", metavar="MODEL", help="a SPLADE encoder; without it the system sparse is not run")
    systems.add_argument(
        "--late-interaction",
        metavar="MODEL",
        help="a multi-vector encoder: adds the system colbert, which searches its token vectors, and its leg to the "
        "hybrids",
    )
    systems.add_argument(
        "--reranker",
        metavar="MODEL",
        help="a cross-encoder (without one: late interaction with --late-interaction or the dense encoder)",
    )
    systems.add_argument("--fusion", metavar="METHOD", help="rrf, weighted-sum, qdrant, … (as a search fuses)")
    systems.add_argument("--candidates", type=int, metavar="N", help="hits that the reranker reads (50)")
    systems.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "int8"],
        default="auto",
        help="precision of the models (auto)",
    )


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose how answers are scored and compared."""
    scoring = parser.add_argument_group("scoring")
    measures = ",".join(DEFAULT_MEASURES)
    scoring.add_argument("--measures", default=measures, metavar="NAMES", help=f"names as in ir-measures ({measures})")
    scoring.add_argument("--k", type=int, default=100, help="hits per query (100)")
    scoring.add_argument("--baseline", metavar="SYSTEM", help="system that the others are compared with (the first)")
    scoring.add_argument("--limit-queries", type=int, metavar="N", help="only N queries, the same ones each time")
    scoring.add_argument(
        "--self-hits",
        choices=["auto", "drop", "keep"],
        default="auto",
        help="hits whose id is the query's own: leave them out where queries are documents (ArguAna, Quora, SciDocs, "
        "CQADupStack), everywhere, or nowhere (auto)",
    )
    scoring.add_argument("--no-report", action="store_true", help="write no report.html")
    scoring.add_argument("--no-timing", action="store_true", help="do not time single searches")


def check_options(options: argparse.Namespace) -> None:
    """Check the values that argparse cannot check.

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
    """Return the settings of the harness."""
    from pipelines.evaluation.task import Settings

    return Settings(k=options.k, measures=tuple(split_names(options.measures)), timing=not options.no_timing)


def imported_runs(options: argparse.Namespace) -> dict[str, str]:
    """Return the path of each run by its name, from ``--run NAME=FILE``."""
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


def plan_of(options: argparse.Namespace, models: "Models", legs: Mapping[str, LegSpec] | None = None) -> Plan:
    """Return the requested built-in systems that can be run, and the systems of the file.

    Parameters
    ----------
    options
        Of `add_system_options`.
    models
        The loader of models; each named model is loaded here, so that a wrong name stops the job at once.
    legs
        The legs of an existing collection; by default BM25, a dense leg, a sparse one with ``--sparse`` and one of
        token vectors with ``--late-interaction``.

    Raises
    ------
    InputError, ModelError
        For an unknown system, or a named model that cannot be loaded.
    """
    from pipelines.evaluation.legs import encoder_of, reranker_identity
    from pipelines.evaluation.systems_file import read_systems
    from pipelines.models import LATE_INTERACTION
    from pipelines.search.config import CANDIDATES, RerankerConfig
    from retrieve.fusion.choice import fusion_config_of

    available = dict(legs or _usual_legs(options))
    names, known = _requested(options, available), (*available, *HYBRIDS)
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise InputError(f"unknown system {unknown!r}: there are {', '.join(known)}")
    fused = set(available) - {MULTIFIELD} if set(names) & set(HYBRIDS) else set()
    needed = [leg for leg in available.values() if leg.name in names or leg.name in fused]
    not_run: dict[str, str] = {}
    usable = [leg for leg in needed if legs or _has_model(leg, models, not_run)]
    reranker = RerankerConfig(
        options.reranker or LATE_INTERACTION, options.candidates or CANDIDATES, dtype=options.dtype
    )
    fusion = fusion_config_of(options.fusion) if options.fusion else None
    systems = []
    for name in names:
        if name in HYBRIDS and (reason := _no_hybrid(name, usable, options.reranker)):
            not_run[name] = reason
        elif name not in not_run:
            parts = [leg.name for leg in usable if name not in HYBRIDS or leg.name != MULTIFIELD]
            systems += built_in([name], parts, reranker=reranker, fusion=fusion, depth=options.k)
    if options.systems_file:
        more = read_systems(options.systems_file, available, depth=options.k, dtype=options.dtype)
        available = dict(more.legs)
        systems += more.systems
        for name in more.used_legs():
            if not legs or available[name].model is not None:
                encoder_of(available[name], models)
    for system in systems:
        reranker_identity(system, models)
    return Plan(available, tuple(systems), {name: not_run[name] for name in names if name in not_run})


def _usual_legs(options: argparse.Namespace) -> dict[str, LegSpec]:
    model = getattr(options, "late_interaction", None)
    # Only when asked for: a system that is not run is noted in every report.
    is_wanted = model is not None or COLBERT in split_names(options.systems or "")
    tokens = {COLBERT: LegSpec(COLBERT, "tokens", model, options.dtype)} if is_wanted else {}
    return {
        "bm25": LegSpec("bm25", "bm25"),
        MULTIFIELD: LegSpec(MULTIFIELD, "bm25", fields={"title": 1.0, "text": 1.0}),
        "dense": LegSpec("dense", "dense", options.dense, options.dtype, options.dense_index),
        "sparse": LegSpec("sparse", "sparse", options.sparse, options.dtype),
        **tokens,
    }


def _requested(options: argparse.Namespace, legs: Mapping[str, LegSpec]) -> list[str]:
    """Return the requested built-in systems in the order of the tables, unknown ones last."""
    if options.systems is None:
        return [] if options.systems_file else [*(name for name in legs if name != MULTIFIELD), *HYBRIDS]
    given = [name for part in options.systems.split(",") if (name := part.strip()) and name != NO_SYSTEM]
    ordered = [name for name in (*legs, *HYBRIDS) if name in given]
    return ordered + [name for name in given if name not in ordered]


def _has_model(leg: LegSpec, models: "Models", not_run: dict[str, str]) -> bool:
    """Load a leg's encoder; when one that was not named is missing, note why the leg is not run."""
    from pipelines.evaluation.legs import encoder_of

    try:
        encoder_of(leg, models)
    except ModelError as error:
        if leg.model:
            raise
        not_run[leg.name] = str(error)
        return False
    return True


def _no_hybrid(name: str, usable: Sequence[LegSpec], reranker: str | None) -> str | None:
    """Return why a hybrid of these legs cannot be run; None where it can."""
    if len(usable) < 2:
        return f"a hybrid needs two legs, and there is only {usable[0].name if usable else 'none'}"
    if name == HYBRID_RERANK and reranker is None and not any(leg.kind in ("dense", "tokens") for leg in usable):
        return "no --reranker was given, and late interaction needs a dense or multi-vector encoder"
    return None
