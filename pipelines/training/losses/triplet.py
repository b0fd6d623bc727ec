"""Triplet loss: an anchor's negative should be at least a margin farther away than its positive."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, check_columns
from pipelines.training.losses.similarity import Distance, check_metric, distance


class TripletLoss(EmbeddingLoss):
    """The mean of max(0, d(anchor, positive) - d(anchor, negative) + margin) over (anchor, positive, negative).

    References
    ----------
    Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015.
    """

    def __init__(self, model: Any, distance: Distance = "euclidean", margin: float = 5.0) -> None:
        super().__init__(model)
        check_metric(distance, ("cosine", "euclidean", "manhattan"))
        self.distance, self.margin = distance, margin

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows."""
        anchor, positive, negative = check_columns(embeddings, 3, 3, "TripletLoss", "anchor, positive, negative")
        near, far = distance(self.distance, anchor, positive), distance(self.distance, anchor, negative)
        return F.relu(near - far + self.margin).mean()
