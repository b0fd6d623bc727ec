"""ListMLE and its position-aware form: the likelihood of the true order under the scores."""

from typing import Any

import torch
from torch import Tensor, nn

from pipelines.training.losses.cross.base import ListwiseLoss


def list_mle(scores: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the negative log-likelihood of lists in their true order, the mean over the lists.

    Each position contributes log sum(exp(scores from this position on)) - score; `weights` of the positions are
    normalized to sum 1.

    Parameters
    ----------
    scores, mask, weights
        [queries, documents], the best document first; `mask` is False for padding.

    References
    ----------
    Xia et al., "Listwise Approach to Learning to Rank: Theory and Algorithm", 2008; Lan et al., "Position-Aware
    ListMLE: A Sequential Learning Process for Ranking", 2014.
    """
    hidden = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    from_here = torch.logcumsumexp(hidden.flip(1), dim=1).flip(1)
    losses = (from_here - scores).masked_fill(~mask, 0.0)
    if weights is not None:
        losses = losses * (weights / (weights.sum(dim=1, keepdim=True) + 1e-10))
    return losses.sum(dim=1).mean()


def position_weights(mask: Tensor) -> Tensor:
    """Return 2^(n - rank) - 1 for ranks 1 to n of a list of n, scaled down if the power would overflow."""
    counts = mask.sum(dim=1, keepdim=True)
    ranks = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    scale = (counts - 127).clamp(min=0)
    return (torch.pow(2.0, counts - ranks - scale) - torch.pow(2.0, -scale)) * mask


class ListMLELoss(ListwiseLoss):
    """`list_mle` over lists of documents.

    Parameters
    ----------
    respect_input_order
        Take the order of the documents as the true one; otherwise sort them by label.
    """

    def __init__(self, model: Any, activation: nn.Module | None = None, *, respect_input_order: bool = True) -> None:
        super().__init__(model, activation)
        self.respect_input_order = respect_input_order

    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the queries."""
        if not self.respect_input_order:
            order = labels.masked_fill(~mask, -torch.inf).sort(descending=True, dim=1).indices
            scores, mask = scores.gather(1, order), mask.gather(1, order)
        return list_mle(scores, mask, self.weights(mask))

    def weights(self, mask: Tensor) -> Tensor | None:
        """Return the weights of the positions; None for equal ones."""
        return None


class PListMLELoss(ListMLELoss):
    """`list_mle` with `position_weights`, which emphasize the first positions."""

    def weights(self, mask: Tensor) -> Tensor:
        """Return the weights of the positions."""
        return position_weights(mask)
