"""Contrastive: pairs of label 1 close together, pairs of label 0 at least a margin apart."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, columns_of, row_labels
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
        """Give the mean over the rows, or the sum with ``size_average=False``."""
        first, second = columns_of(embeddings, 2, 2, type(self).__name__, "text, text, with a label")
        truth = row_labels(labels, len(first), type(self).__name__).float()
        far = distance(self.distance, first, second)
        losses = 0.5 * (truth * far**2 + (1 - truth) * F.relu(self.margin - far) ** 2)
        return losses.mean() if self.size_average else losses.sum()


class OnlineContrastiveLoss(EmbeddingLoss):
    """Contrastive over the batch's hard pairs only, summed.

    A pair of label 0 counts when it is closer than the farthest pair of label 1, and the other way round; where one
    label is missing, when it is closer (or farther) than the mean of its kind.
    """

    def __init__(self, model: Any, distance: Distance = "cosine", margin: float = 0.5) -> None:
        super().__init__(model)
        check_metric(distance, ("cosine", "euclidean", "manhattan"))
        self.distance, self.margin = distance, margin

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Give the sum over the hard pairs."""
        first, second = columns_of(embeddings, 2, 2, type(self).__name__, "text, text, with a label")
        truth = row_labels(labels, len(first), type(self).__name__)
        far = distance(self.distance, first, second)
        negative, positive = far[truth == 0], far[truth == 1]
        hard_negative = negative[negative < (positive.max() if len(positive) else negative.mean())]
        hard_positive = positive[positive > (negative.min() if len(negative) else positive.mean())]
        return (hard_positive**2).sum() + (F.relu(self.margin - hard_negative) ** 2).sum()
