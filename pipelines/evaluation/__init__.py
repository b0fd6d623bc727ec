"""Scoring: measures equal to trec_eval's, and the collections to score on."""

from pipelines.evaluation.datasets import EvaluationSet, load_evaluation_set
from pipelines.evaluation.judged import Qrels
from pipelines.evaluation.scores import Scores, evaluate

__all__ = ["EvaluationSet", "Qrels", "Scores", "evaluate", "load_evaluation_set"]
