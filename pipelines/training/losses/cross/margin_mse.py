"""MarginMSE for cross-encoders: the student learns a teacher's margin between positive and negative."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.cross.base import Columns, TupleLoss, as_labels, single_scores
from pipelines.training.losses.margin_mse import margins


class MarginMSELoss(TupleLoss):
    """The mean of (s(positive) - s(negative) - teacher's margin)² over (query, positive, negative ...).

    References
    ----------
    Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation", 2020.
    """

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Return the mean over rows and negatives."""
        name, rows = type(self).__name__, len(columns[0])
        scores = single_scores(logits, name).float().reshape(-1, rows).T
        truth = margins(as_labels(labels, name), len(columns) - 2, name).to(scores)
        return F.mse_loss(scores[:, :1] - scores[:, 1:], truth)
