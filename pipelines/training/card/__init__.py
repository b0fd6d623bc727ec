"""The model card that a trainer writes into every model folder."""

from pipelines.training.card.card import Card, EvaluationTable, write_card
from pipelines.training.card.dataset import DatasetFacts, dataset_facts

__all__ = ["Card", "DatasetFacts", "EvaluationTable", "dataset_facts", "write_card"]
