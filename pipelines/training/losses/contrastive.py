"""Contrastive losses: pairs of label 1 close together, pairs of label 0 at least a margin apart."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, check_columns, row_labels
from pipelines.training.losses.similarity import Distance, check_metric, distance


class ContrastiveLoss(EmbeddingLoss):
    """The mean of (label * d² + (1 - label) * max(0, margin - d)²) / 2 over (text, text) with a label of 0 or 1.

    References
    ----------
    Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006.
    """

    def __init__(
        self, model: Any, distance: Distance = "cosine", margin: float = 0.5, *, size_average: bool = True
    ) -> None:
        super().__init__(model)
        check_metric(distance, ("cosine", "euclidean", "manhattan"))
        self.distance, self.margin, self.size_average = distance, margin, size_average

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows, or the sum with ``size_average=False``."""
        first, second = check_columns(embeddings, 2, 2, type(self).__name__, "text, text, with a label")
        truth = row_labels(labels, len(first), type(self).__name__).float()
        distances = distance(self.distance, first, second)
        losses = 0.5 * (truth * distances**2 + (1 - truth) * F.relu(self.margin - distances) ** 2)
        return losses.mean() if self.size_average else losses.sum()


class OnlineContrastiveLoss(EmbeddingLoss):
    """The sum of the contrastive loss over the batch's hard pairs only.

    A pair of label 0 is hard if it is closer than the farthest pair of label 1; a pair of label 1 is hard if it is
    farther than the closest pair of label 0. If the other label is missing, the mean distance of the pair's own label
    takes its place.
    """

    def __init__(self, model: Any, distance: Distance = "cosine", margin: float = 0.5) -> None:
        super().__init__(model)
        check_metric(distance, ("cosine", "euclidean", "manhattan"))
        self.distance, self.margin = distance, margin

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the sum over the hard pairs."""
        first, second = check_columns(embeddings, 2, 2, type(self).__name__, "text, text, with a label")
        truth = row_labels(labels, len(first), type(self).__name__)
        distances = distance(self.distance, first, second)
        negative, positive = distances[truth == 0], distances[truth == 1]
        hard_negative = negative[negative < (positive.max() if len(positive) else negative.mean())]
        hard_positive = positive[positive > (negative.min() if len(negative) else positive.mean())]
        return (hard_positive**2).sum() + (F.relu(self.margin - hard_negative) ** 2).sum()
