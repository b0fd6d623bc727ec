"""Cosine similarity as a regression: the cosine of two texts should equal their label."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, check_columns, row_labels
from pipelines.training.losses.similarity import row_by_row


class CosineSimilarityLoss(EmbeddingLoss):
    """The mean of (cosine - label)² over (text, text) with a label.

    References
    ----------
    Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", 2019.
    """

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows."""
        first, second = check_columns(embeddings, 2, 2, type(self).__name__, "text, text, with a label")
        truth = row_labels(labels, len(first), type(self).__name__).float()
        return F.mse_loss(row_by_row("cosine", first, second), truth)
