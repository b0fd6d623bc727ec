"""Measure a trained reranker on judged collections other than the one that it was trained for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.disk import write_json
from indexing.errors import StorageError
from indexing.json_text import parse_json
from indexing.plurals import counted
from pipelines.training.recipes.comparison import ALONE, FIRST_STAGE, INTERPOLATED, MEASURES, gain, values_of
from retrieve.reranking.base import reweighted
from retrieve.reranking.carried import CarriedWeight
from retrieve.reranking.cross_encoder import Reranker

if TYPE_CHECKING:
    from pipelines.evaluation.datasets import EvaluationSet
    from retrieve.encoders import CrossEncoder

CHECKS_FILE = "checks.json"
CHECKS = "checks"
"""Folder of the collections that are built for the checks, within the output folder."""
MAX_QUERIES = 100


@dataclass(frozen=True, slots=True)
class Check:
    """Results of a reranker on one other collection.

    Parameters
    ----------
    name, reference
        The collection's name, and its folder with the split.
    queries, candidates
        Number of queries, and of hits that were reranked for each.
    weight
        Weight of the first stage's score that the reranker has there when none is stated.
    figures
        nDCG@10 by system: the first stage, the reranker alone, and with this weight.
    gains
        {system: (difference, low, high)}: nDCG@10 minus that of the first stage, with the 95% interval.
    """

    name: str
    reference: str
    queries: int
    candidates: int
    weight: float
    figures: Mapping[str, float]
    gains: Mapping[str, tuple[float, float, float]]

    @property
    def verdict(self) -> str:
        """One sentence on what a search with this reranker does there."""
        _, low, high = self.gains[INTERPOLATED]
        if high < 0:
            return f"it hurts {self.name}: the interval lies below zero"
        return f"it helps {self.name}" if low > 0 else f"neither gain nor harm on {self.name} is certain"

    def __str__(self) -> str:
        alone, weighted = ("{:+.4f} [{:+.4f}, {:+.4f}]".format(*self.gains[name]) for name in (ALONE, INTERPOLATED))
        return (
            f"    {self.name}, {counted(self.queries, 'query')}: first stage {self.figures[FIRST_STAGE]:.4f}; "
            f"with weight {self.weight:g} {weighted}; alone {alone}: {self.verdict}"
        )


def load_checks(references: Mapping[str, str]) -> "dict[str, EvaluationSet]":
    """Load the judged collections of some checks, so that a wrong folder is found before any other work.

    Parameters
    ----------
    references
        By name, a folder in BEIR layout, or ``FOLDER:SPLIT``.

    Raises
    ------
    InputError
        For a name that is no file name, or a collection that cannot be read.
    """
    from pipelines.evaluation.datasets import load_evaluation_set, parse_reference
    from pipelines.evaluation.systems import check_name

    loaded = {}
    for name, reference in references.items():
        check_name("check", name)
        folder, split = parse_reference(reference)
        dataset = load_evaluation_set(folder, split)
        loaded[name] = dataset.limited(min(MAX_QUERIES, len(dataset.queries)))
    return loaded


def check_elsewhere(
    datasets: "Mapping[str, EvaluationSet]",
    references: Mapping[str, str],
    model: "CrossEncoder",
    carried: CarriedWeight,
    output: Path,
    *,
    dense: Any,
    candidates: int,
    seed: int = 0,
    show_progress: bool = True,
) -> list[Check]:
    """Rerank the first stage of each collection, and compare; results that are in `output` are kept.

    Parameters
    ----------
    datasets, references
        See `load_checks`.
    model, carried
        The reranker and its weights.
    output
        Folder of ``checks.json`` and of the collections that are built.
    dense
        Encoder of the dense leg beside BM25; None for BM25 alone.
    candidates
        Number of first-stage hits to rerank.
    seed
        Seed of the bootstrap.
    """
    file = output / CHECKS_FILE
    done = _stored(file)
    for name, dataset in datasets.items():
        if name in done and done[name].reference == references[name]:
            continue
        done[name] = _check(
            name,
            references[name],
            dataset,
            model,
            carried,
            output / CHECKS / name,
            dense=dense,
            candidates=candidates,
            seed=seed,
            show_progress=show_progress,
        )
        write_json(file, [asdict(one) for one in done.values()])
    return [done[name] for name in datasets]


def _stored(file: Path) -> dict[str, Check]:
    """Return the results that a file holds, by name; none if there is no file."""
    if not file.is_file():
        return {}
    try:
        return {one["name"]: Check(**one) for one in parse_json(file.read_text("utf-8"))}
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{file} is damaged ({type(error).__name__}: {error}): delete it, and the checks are made again"
        ) from error


def _check(
    name: str,
    reference: str,
    dataset: "EvaluationSet",
    model: "CrossEncoder",
    carried: CarriedWeight,
    folder: Path,
    *,
    dense: Any,
    candidates: int,
    seed: int,
    show_progress: bool,
) -> Check:
    from pipelines.build.job import build_collection
    from pipelines.build.plan import is_built
    from pipelines.search import SearchPipeline

    if not is_built(folder, dataset.corpus, dense=dense):
        folder.parent.mkdir(parents=True, exist_ok=True)
        build_collection(dataset.corpus, folder, dense=dense, overwrite=folder.exists(), show_progress=show_progress)
    with SearchPipeline.open(folder, dense=dense, reranker=None) as first_stage:
        documents, texts = first_stage.collection.documents, list(dataset.queries.values())
        hits = first_stage.retrieve(texts, candidates, show_progress=show_progress)
        weight = carried.for_documents(documents)
        read = Reranker(model, weight=0).rerank(texts, hits, documents, show_progress=show_progress)
    systems = {FIRST_STAGE: hits, ALONE: read, INTERPOLATED: reweighted(read, weight)}
    values = {
        system: values_of(each, (hits, list(dataset.queries), dataset.qrels), MEASURES[0])
        for system, each in systems.items()
    }
    return Check(
        name,
        reference,
        len(texts),
        candidates,
        weight,
        figures={system: float(each.mean()) for system, each in values.items()},
        gains={system: gain(values[system], values[FIRST_STAGE], seed) for system in (ALONE, INTERPOLATED)},
    )
