"""Scoring: measures equal to trec_eval's, the collections to score on, and the harness that does it.

Names are loaded when first used, so importing this package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.evaluation.datasets import EvaluationSet, load_evaluation_set
    from pipelines.evaluation.harness import run_benchmark
    from pipelines.measures.evaluate import Scores, evaluate
    from pipelines.measures.qrels import Qrels

_HOME = {
    "EvaluationSet": "pipelines.evaluation.datasets",
    "Qrels": "pipelines.measures.qrels",
    "Scores": "pipelines.measures.evaluate",
    "evaluate": "pipelines.measures.evaluate",
    "load_evaluation_set": "pipelines.evaluation.datasets",
    "run_benchmark": "pipelines.evaluation.harness",
}

__all__ = ["EvaluationSet", "Qrels", "Scores", "evaluate", "load_evaluation_set", "run_benchmark"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pipelines.evaluation' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
