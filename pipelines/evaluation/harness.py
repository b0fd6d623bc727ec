"""The harness: score systems on datasets for quality, speed and size, and write the results."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from indexing.disk import write_json
from indexing.errors import InputError
from indexing.inputs import local_path, require_positive
from indexing.plurals import counted
from pipelines.build.plan import corpus_record
from pipelines.evaluation.checks import Checks, check_corpus
from pipelines.evaluation.closing_report import add_harms, add_significance, corpus_contents, stored_contents
from pipelines.evaluation.datasets import CQADUPSTACK, CQADUPSTACK_PARTS, DEFAULT_SPLITS, EvaluationSet
from pipelines.evaluation.export import write_csv, write_markdown
from pipelines.evaluation.legs import BuiltLegs, CollectionLegs, LegSource, Say, encoder_of
from pipelines.evaluation.report import GivenTexts, write_report
from pipelines.evaluation.result_cache import keep, kept, key_of
from pipelines.evaluation.results import FORMAT
from pipelines.evaluation.systems import COLBERT, Plan
from pipelines.evaluation.task import PACKAGES, Settings, Task, run_task
from pipelines.measures.measures import Measure
from pipelines.models import Models
from pipelines.package_versions import package_version

SelfHits = Literal["auto", "drop", "keep"]

SELF_HIT_SETS = ("arguana", "quora", "scidocs", *CQADUPSTACK_PARTS, "nanoarguana", "nanoquoraretrieval", "nanoscidocs")
"""Datasets whose queries are documents of the corpus under the same ids, so that a query may find itself.

Elsewhere an id shared by a query and a document is a coincidence (both count from 1, for example), and dropping the
document would be wrong, although BEIR's own evaluator does it everywhere.
"""


_NAMES = {"tokens": COLBERT}
"""Names of the systems' legs that are not their kind."""


def drops_self_hits(dataset: str, rule: SelfHits) -> bool:
    """Return whether hits whose id is their query's are removed."""
    return rule == "drop" or (rule == "auto" and dataset.lower() in SELF_HIT_SETS)


def run_benchmark(
    datasets: Sequence[Callable[[], EvaluationSet]],
    plan: Plan,
    output: str | Path,
    *,
    models: Models | None = None,
    settings: Settings | None = None,
    self_hits: SelfHits = "auto",
    baseline: str | None = None,
    index: str | Path | None = None,
    imported: Mapping[str, str] | None = None,
    report: bool = True,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Score systems on datasets, one dataset after another.

    Indexes, leg searches and answers are cached in `output` under a key of everything that determines them: an
    interrupted run resumes, and a run with more systems computes only those.

    Parameters
    ----------
    datasets
        Functions that load a dataset each, called one at a time.
    plan
        The systems.
    output
        Folder of ``results.json``, ``results.csv``, ``results.md``, ``report.html``, ``runs/``, ``per_query/``,
        ``mteb/``, ``index/`` and ``state/``.
    models
        The loader of models, to share loaded models with other calls.
    settings
        Number of hits, measures, timing.
    self_hits
        Remove hits whose id is their query's: ``auto`` does so for `SELF_HIT_SETS`.
    baseline
        The system that the others are compared with; the first by default.
    index
        A collection with all legs, existing or to be built, for a single dataset; by default each leg is built in
        ``<output>/index/<dataset>/<leg>``.
    imported
        Paths of TREC runs from elsewhere by name; ``{dataset}`` in a path stands for the dataset's name.
    report
        Write ``report.html``.
    say
        Callback for progress messages.

    Returns
    -------
    dict
        The content of results.json.

    Raises
    ------
    InputError
        For options that contradict each other, before anything is built if possible.
    """
    output, settings, models = local_path(output, "output"), settings or Settings(), models or Models()
    imported = dict(imported or {})
    check_plan(plan, imported, settings, baseline)
    if not datasets:
        raise InputError("there is no dataset to score on")
    if index is not None and len(datasets) > 1:
        raise InputError("index (--index) is one collection, of one dataset: leave it out to score on several")
    entries: dict[str, Any] = {}
    texts: dict[str, GivenTexts] = {}
    for load in datasets:
        dataset = load()
        if dataset.name in entries:
            raise InputError(
                f"two datasets are called {dataset.name!r}: score them with different output folders (--output)"
            )
        entries[dataset.name] = _run_dataset(dataset, plan, output, models, settings, self_hits, index, imported, say)
        built = next((Path(index or output / "index" / dataset.name / leg) for leg in plan.used_legs()), None)
        contents = corpus_contents(dataset.corpus) if built is None else stored_contents(built)
        texts[dataset.name] = GivenTexts(dataset.queries, dataset.qrels, contents)
    return write_results(output, entries, settings, plan, baseline=baseline, texts=texts if report else None)


def write_results(
    output: Path,
    entries: Mapping[str, Any],
    settings: Settings,
    plan: Plan,
    *,
    baseline: str | None = None,
    texts: Mapping[str, GivenTexts] | None = None,
) -> dict[str, Any]:
    """Join the datasets' entries, compare with the baseline, write all files, and return the content of results.json.

    The report is written only with `texts`.
    """
    mean, groups = means(entries)
    baseline = baseline or next((name for entry in entries.values() for name in entry["systems"]), None)
    add_significance(entries, output, baseline)
    add_harms(entries, output, settings.measures[0])
    results: dict[str, Any] = {
        "format": FORMAT,
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(plan, settings),
        "baseline": baseline,
        "measures": list(settings.measures),
        "datasets": dict(entries),
        "mean": mean,
    }
    if groups:
        results["groups"] = groups
    write_json(output / "results.json", results)
    write_csv(output / "results.csv", results)
    write_markdown(output / "results.md", results)
    if texts is not None:
        write_report(output, texts)
    return results


def check_plan(plan: Plan, imported: Iterable[str], settings: Settings, baseline: str | None) -> None:
    """Check the plan and the settings before anything is loaded or built.

    Raises
    ------
    InputError
        For no system at all, two of one name, a baseline that is none of them, or an unknown measure.
    """
    imported = list(imported)
    names = [*(system.name for system in plan.systems), *imported]
    if not names:
        reason = next(iter(plan.not_run.values()), "none was asked for")
        raise InputError(f"none of the systems can be run: {reason}")
    if twice := next((name for name in imported if names.count(name) > 1), None):
        raise InputError(f"two systems are called {twice!r}: give the imported run another name")
    if baseline is not None and baseline not in names:
        raise InputError(f"the baseline {baseline!r} is none of the systems: {', '.join(names)}")
    require_positive(k=settings.k)
    if not settings.measures:
        raise InputError("there is no measure: give nDCG@10, for one")
    for measure in settings.measures:
        Measure.parse(measure)


def means(entries: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Average each measure of the systems that ran on every dataset; CQADupStack's parts count as one dataset.

    Returns
    -------
    mean
        ``{system: {"measures": {…}}}``.
    groups
        The same for each group of datasets that counts as one, by its name.
    """
    parts = [name for name in entries if name in CQADUPSTACK_PARTS]
    groups = {CQADUPSTACK: _mean([entries[name]["systems"] for name in parts])} if len(parts) > 1 else {}
    members = [entry["systems"] for name, entry in entries.items() if not groups or name not in parts]
    return _mean([*members, *groups.values()]), groups


def environment(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return the machine, package versions and settings behind the figures."""
    import torch

    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "legs": {name: plan.legs[name].settings for name in plan.used_legs()},
        "k": settings.k,
    }


def _run_dataset(
    dataset: EvaluationSet,
    plan: Plan,
    output: Path,
    models: Models,
    settings: Settings,
    self_hits: SelfHits,
    index: str | Path | None,
    imported: Mapping[str, str],
    say: Say,
) -> dict[str, Any]:
    state = output / "state" / dataset.name
    checks = _checks(dataset, state)
    drop = drops_self_hits(dataset.name, self_hits)
    for line in checks.warnings():
        say(f"{dataset.name}: {line}")
    if drop:
        say(f"{dataset.name}: hits whose id is the query's own are removed (--self-hits keep would keep them)")
    elif checks.shared_ids:
        say(
            f"{dataset.name}: {counted(checks.shared_ids, 'id')} of both a query and a document; hits on them count "
            "(--self-hits drop, if these are the same texts)"
        )
    legs: LegSource
    if index is None:
        folder = output / "index" / dataset.name
        legs = BuiltLegs(dataset.corpus, folder, state, models, say=say, show_progress=settings.show_progress)
    else:
        prepare_collection(Path(index), dataset, plan, models, say=say, show_progress=settings.show_progress)
        legs = CollectionLegs(index, models)
    task = Task(
        name=dataset.name,
        split=dataset.split,
        queries=dataset.queries,
        qrels=dataset.qrels,
        documents=checks.documents,
        legs=legs,
        checks={**checks.counts(), "unknown_queries": dataset.unknown_queries},
        drop_self_hits=drop,
        comparable=not dataset.altered and dataset.split == DEFAULT_SPLITS.get(dataset.name, "test"),
    )
    paths = {name: Path(path.replace("{dataset}", dataset.name)) for name, path in imported.items()}
    with legs:
        return run_task(task, plan, output, models, settings, imported=paths, say=say)


def prepare_collection(
    index: Path, dataset: EvaluationSet, plan: Plan, models: Models, *, say: Say, show_progress: bool
) -> None:
    """Build one collection with all legs of the plan, unless it exists for this corpus and these encoders."""
    from pipelines.build.job import build_collection
    from pipelines.build.plan import is_built

    used = {name: plan.legs[name] for name in plan.used_legs()}
    if strange := next((name for name, leg in used.items() if name != _NAMES.get(leg.kind, leg.kind)), None):
        raise InputError(
            "index (--index) holds the legs bm25, dense, sparse and colbert only: leave it out to build "
            f"{strange!r} separately"
        )
    wanted: dict[str, Any] = {
        "bm25": "bm25" in used,
        "dense": encoder_of(used["dense"], models) if "dense" in used else None,
        "sparse": encoder_of(used["sparse"], models) if "sparse" in used else None,
        "multi_vector": next((encoder_of(leg, models) for leg in used.values() if leg.kind == "tokens"), None),
        "dense_index": used["dense"].index if "dense" in used else "flat",
    }
    if is_built(index, dataset.corpus, **wanted):
        say(f"using the collection in {index}")
        return
    # The named directory may hold other work, so an existing one is not replaced.
    say(str(build_collection(dataset.corpus, index, **wanted, show_progress=show_progress)))


def _checks(dataset: EvaluationSet, state: Path) -> Checks:
    """Return the checks of a dataset, cached for the same corpus, queries and judgements."""
    record = {
        **corpus_record(dataset.corpus),
        "queries": sorted(dataset.queries),
        "qrels": key_of({query_id: dict(grades) for query_id, grades in dataset.qrels.items()}),
    }
    path, key = state / "checks.json", key_of(record)
    found = kept(path, key)
    if found is not None:
        return Checks(**found)
    checks = check_corpus(dataset.corpus, dataset.queries, dataset.qrels)
    keep(path, key, asdict(checks))
    return checks


def _mean(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    everywhere = [name for name in (members[0] if members else {}) if all(name in systems for systems in members)]
    return {
        name: {
            "measures": {
                measure: float(np.mean([systems[name]["measures"][measure] for systems in members]))
                for measure in members[0][name]["measures"]
            }
        }
        for name in everywhere
    }


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
