"""ListMLE and its position-aware form: the likelihood of the right order under the scores."""

from typing import Any

import torch
from torch import Tensor, nn

from pipelines.training.losses.cross.base import ListwiseLoss


def list_mle(scores: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give the negative log-likelihood of lists that stand in the right order, the mean over the lists.

    At each position it is log sum(exp(scores from here on)) - score; `weights` of the positions are brought to sum 1.

    Parameters
    ----------
    scores, mask, weights
        [queries, documents], the best document first; `mask` says which entries are documents.

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
    """Give 2^(n - rank) - 1 for the ranks from 1 of a list of n, scaled down where the power would be too large."""
    counts = mask.sum(dim=1, keepdim=True)
    ranks = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    scale = (counts - 127).clamp(min=0)
    return (torch.pow(2.0, counts - ranks - scale) - torch.pow(2.0, -scale)) * mask


class ListMLELoss(ListwiseLoss):
    """`list_mle` of (query, documents) with labels.

    Parameters
    ----------
    respect_input_order
        The documents stand in the right order already; else they are sorted by label.
    """

    def __init__(self, model: Any, activation: nn.Module | None = None, *, respect_input_order: bool = True) -> None:
        super().__init__(model, activation)
        self.respect_input_order = respect_input_order

    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Give the mean over the queries."""
        if not self.respect_input_order:
            order = labels.masked_fill(~mask, -torch.inf).sort(descending=True, dim=1).indices
            scores, mask = scores.gather(1, order), mask.gather(1, order)
        return list_mle(scores, mask, self.weights(mask))

    def weights(self, mask: Tensor) -> Tensor | None:
        """Give the weights of the positions; none."""
        return None


class PListMLELoss(ListMLELoss):
    """The same, with `position_weights`: the first positions count most."""

    def weights(self, mask: Tensor) -> Tensor:
        """Give the weights of the positions."""
        return position_weights(mask)
