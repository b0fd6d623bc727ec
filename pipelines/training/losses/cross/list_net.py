"""ListNet: the distribution of the scores over a list should equal that of the labels."""

import torch
from torch import Tensor

from pipelines.training.losses.cross.base import ListwiseLoss


def list_net(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of softmax(scores) against softmax(labels), the mean over the lists.

    Parameters
    ----------
    scores, labels, mask
        [queries, documents]; `mask` is False for padding.

    References
    ----------
    Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", 2007.
    """
    guess = torch.log_softmax(scores.masked_fill(~mask, -1e16), dim=1)
    truth = torch.softmax(labels.masked_fill(~mask, -1e16), dim=1)
    return -(truth * guess).masked_fill(~mask, 0.0).sum(dim=1).mean()


class ListNetLoss(ListwiseLoss):
    """`list_net` over lists of documents."""

    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the queries."""
        return list_net(scores, labels, mask)
