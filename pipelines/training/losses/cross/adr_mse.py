"""ADR-MSE: squared errors of differentiable ranks, with most weight on the first ranks."""

from typing import Any

import torch
from torch import Tensor, nn

from pipelines.training.losses.cross.base import ListwiseLoss


def adr_mse(scores: Tensor, labels: Tensor, mask: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Return (rank - approximate rank)² / log2(1 + rank), the mean over all documents.

    The approximate rank of a document is 1 + the sum of sigmoid(alpha * (s_other - s)) over the others; tied labels
    share the mean of their ranks.

    References
    ----------
    Schlatt et al., "Rank-DistiLLM: Closing the Effectiveness Gap Between Cross-Encoders and LLMs for Passage
    Re-Ranking", 2024.
    """
    known = mask[:, None, :]
    above = torch.sigmoid(alpha * (scores[:, None, :] - scores[:, :, None])) * known
    guess = 1.0 + above.sum(dim=2) - 0.5 * mask
    higher = ((labels[:, None, :] > labels[:, :, None]) & known).sum(dim=2)
    equal = ((labels[:, None, :] == labels[:, :, None]) & known).sum(dim=2)
    ranks = higher + (equal + 1.0) / 2.0
    losses = (ranks - guess) ** 2 / torch.log2(ranks + 1.0)
    return losses.masked_fill(~mask, 0.0).sum() / mask.sum()


class ADRMSELoss(ListwiseLoss):
    """`adr_mse` over lists of documents."""

    def __init__(self, model: Any, alpha: float = 1.0, activation: nn.Module | None = None) -> None:
        super().__init__(model, activation)
        self.alpha = alpha

    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the documents."""
        return adr_mse(scores, labels, mask, alpha=self.alpha)
