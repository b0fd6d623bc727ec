"""Losses of single query-document pairs with a label."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.base import row_labels
from pipelines.training.losses.cross.base import Columns, PointwiseLoss, as_labels, single_scores


class BinaryCrossEntropyLoss(PointwiseLoss):
    """Cross-entropy of sigmoid(logit) against a label from 0 to 1.

    Parameters
    ----------
    pos_weight
        Weight of positives; the number of negatives per positive is a good choice.
    """

    def __init__(
        self, model: Any, activation: nn.Module | None = None, pos_weight: float | Tensor | None = None
    ) -> None:
        super().__init__(model, activation)
        self.pos_weight = None if pos_weight is None else float(pos_weight)

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Return the mean over the pairs."""
        scores, truth = _matched(logits, labels, type(self).__name__)
        weight = None if self.pos_weight is None else scores.new_tensor(self.pos_weight)
        return F.binary_cross_entropy_with_logits(scores, truth, pos_weight=weight)


class MSELoss(PointwiseLoss):
    """The mean of (logit - label)², for learning a teacher's scores."""

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Return the mean over the pairs."""
        return F.mse_loss(*_matched(logits, labels, type(self).__name__))


class CrossEntropyLoss(PointwiseLoss):
    """Cross-entropy over a model's classes; the label is a class, or a probability for each class."""

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Return the mean over the pairs."""
        truth = as_labels(labels, type(self).__name__).to(logits.device)
        if not truth.is_floating_point():
            truth = truth.reshape(-1).long()
            if len(truth) and not 0 <= int(truth.min()) <= int(truth.max()) < logits.shape[1]:
                raise InputError(
                    f"CrossEntropyLoss got the classes {int(truth.min())} to {int(truth.max())}, and the model has "
                    f"{logits.shape[1]} (from 0)"
                )
        return F.cross_entropy(logits.float(), truth)


def _matched(logits: Tensor, labels: Any, name: str) -> tuple[Tensor, Tensor]:
    """Return the scores and labels of the pairs, float32 [pairs] each."""
    scores = single_scores(logits, name).float()
    truth = row_labels(as_labels(labels, name), len(scores), name)
    return scores, truth.detach().to(scores.device, torch.float32)
