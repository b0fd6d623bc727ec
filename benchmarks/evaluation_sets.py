"""Evaluation sets that a script's options name, their collections, and tables of what was measured on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError

if TYPE_CHECKING:
    from pipelines.evaluation.datasets import EvaluationSet


def named_datasets(text: str) -> list[str]:
    """Return the names of datasets in ``--datasets``."""
    names = [name.strip() for name in text.split(",")]
    if not all(name.partition(":")[0] for name in names):
        raise InputError(f"--datasets must be names of datasets with commas between them, not {text[:200]!r}")
    return names


def load(given: str, data_dir: str | None) -> "EvaluationSet":
    """Return the evaluation set of ``NAME[:SPLIT]``; the split is test if not given."""
    from pipelines.evaluation.datasets import load_evaluation_set

    name, _, split = given.partition(":")
    return load_evaluation_set(name, split=split or "test", data_dir=data_dir)


def build_if_missing(documents: Any, folder: Path, dense: Any) -> None:
    """Build the collection of these documents with BM25 and a dense leg, unless the folder has it."""
    from pipelines.build.job import build_collection
    from pipelines.build.plan import is_built

    if not is_built(folder, documents, dense=dense):
        build_collection(documents, folder, dense=dense, overwrite=folder.exists(), show_progress=False)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the same names of columns as a Markdown table."""
    from pipelines.model_card.markdown import table

    return table(list(rows[0]), [[str(cell) for cell in row.values()] for row in rows])
