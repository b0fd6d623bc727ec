"""Model card of a trained or evaluated model."""

from pipelines.model_card.card import Card, card_of, is_by_hand, write_card
from pipelines.model_card.dataset import DatasetFacts, dataset_facts
from pipelines.model_card.evaluations import EvaluationTable

__all__ = ["Card", "DatasetFacts", "EvaluationTable", "card_of", "dataset_facts", "is_by_hand", "write_card"]
