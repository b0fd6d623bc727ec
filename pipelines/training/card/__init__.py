"""The model card that is written into every folder of a trained or evaluated model."""

from pipelines.training.card.card import Card, card_of, is_by_hand, write_card
from pipelines.training.card.dataset import DatasetFacts, dataset_facts
from pipelines.training.card.evaluations import EvaluationTable

__all__ = ["Card", "DatasetFacts", "EvaluationTable", "card_of", "dataset_facts", "is_by_hand", "write_card"]
