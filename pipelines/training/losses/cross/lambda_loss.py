"""LambdaLoss: pairs of documents weighted by their effect on nDCG; and RankNet, its unweighted form.

References
----------
Wang et al., "The LambdaLoss Framework for Ranking Metric Optimization", 2018; Burges et al., "Learning to Rank using
Gradient Descent" (RankNet), 2005.
"""

import math
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.cross.base import ListwiseLoss

Weighting: TypeAlias = Literal["none", "ndcg1", "ndcg2", "lambda_rank", "ndcg2++"]


def lambda_loss(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    *,
    weighting: Weighting = "ndcg2++",
    mu: float = 10.0,
    k: int | None = None,
    sigma: float = 1.0,
    eps: float = 1e-10,
    base: Literal["natural", "binary"] = "binary",
) -> Tensor:
    """Return the mean of -weight * log sigmoid(sigma * (s_i - s_j)) over pairs with label_i > label_j.

    Ranks are those by score; the gain G is (2^label - 1) / ideal DCG, the discount D is log2(1 + rank).

    Parameters
    ----------
    scores, labels, mask
        [queries, documents].
    weighting
        "none": 1. "ndcg1": G_i / D_i, over all pairs of documents. "ndcg2": abs(1 / D_(d) - 1 / D_(d + 1)) *
        abs(G_i - G_j) with the difference of ranks d = abs(i - j). "lambda_rank": abs(1 / D_i - 1 / D_j) *
        abs(G_i - G_j). "ndcg2++": mu * "ndcg2" + "lambda_rank".
    k
        Use only pairs in which at least one document is among the first `k` (None: all pairs).
    """
    ranked, order = scores.masked_fill(~mask, -1e16).sort(descending=True, dim=-1)
    hidden = labels.masked_fill(~mask, -torch.inf)
    grades = hidden.gather(1, order)
    differences = grades[:, :, None] - grades[:, None, :]
    pairs = torch.isfinite(differences)
    if weighting != "ndcg1":
        pairs &= differences > 0
    size = scores.shape[1]
    cutoff = k or size
    positions = torch.arange(size, device=scores.device)
    pairs &= (positions[:, None] < cutoff) | (positions[None, :] < cutoff)
    discount = torch.log2(2.0 + positions.float())
    ideal = ((2 ** hidden.sort(descending=True, dim=-1).values.clamp(min=0) - 1) / discount)[:, :cutoff].sum(dim=-1)
    gain = (2 ** grades.clamp(min=0) - 1) / ideal.clamp(min=eps)[:, None]
    difference = (ranked[:, :, None] - ranked[:, None, :]).clamp(min=-1e8, max=1e8)
    losses = _WEIGHTINGS[weighting](gain, discount, mu) * F.logsigmoid(sigma * difference)
    losses = losses[pairs] / (math.log(2) if base == "binary" else 1.0)
    return -losses.sum() / max(losses.numel(), 1)


class LambdaLoss(ListwiseLoss):
    """`lambda_loss` over lists of documents."""

    def __init__(
        self,
        model: Any,
        weighting: Weighting = "ndcg2++",
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Literal["natural", "binary"] = "binary",
        activation: nn.Module | None = None,
        *,
        mu: float = 10.0,
    ) -> None:
        super().__init__(model, activation)
        if weighting not in get_args(Weighting):
            raise InputError(f"unknown weighting {weighting!r}: there are {', '.join(get_args(Weighting))}")
        self.weighting, self.k, self.sigma, self.eps, self.mu = weighting, k, sigma, eps, mu
        self.reduction_log = reduction_log

    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the pairs."""
        return lambda_loss(
            scores,
            labels,
            mask,
            weighting=self.weighting,
            mu=self.mu,
            k=self.k,
            sigma=self.sigma,
            eps=self.eps,
            base=self.reduction_log,
        )


class RankNetLoss(LambdaLoss):
    """`lambda_loss` with weight 1 for every pair."""

    def __init__(
        self,
        model: Any,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Literal["natural", "binary"] = "binary",
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(model, "none", k, sigma, eps, reduction_log, activation)


def _ndcg1(gain: Tensor, discount: Tensor, mu: float) -> Tensor:
    return (gain / discount)[:, :, None]


def _ndcg2(gain: Tensor, discount: Tensor, mu: float) -> Tensor:
    positions = torch.arange(len(discount), device=discount.device)
    distance = (positions[:, None] - positions[None, :]).abs()
    # Two documents at distance d are weighted like the ranks d and d + 1; a document and itself have weight 0.
    inverse = torch.cat((discount.new_zeros(1), 1 / discount, discount.new_zeros(1)))
    deltas = (inverse[distance] - inverse[distance + 1]).abs() * (distance > 0)
    return deltas * (gain[:, :, None] - gain[:, None, :]).abs()


def _lambda_rank(gain: Tensor, discount: Tensor, mu: float) -> Tensor:
    return (1 / discount[:, None] - 1 / discount[None, :]).abs() * (gain[:, :, None] - gain[:, None, :]).abs()


_WEIGHTINGS = {
    "none": lambda gain, discount, mu: torch.ones((), device=gain.device),
    "ndcg1": _ndcg1,
    "ndcg2": _ndcg2,
    "lambda_rank": _lambda_rank,
    "ndcg2++": lambda gain, discount, mu: mu * _ndcg2(gain, discount, mu) + _lambda_rank(gain, discount, mu),
}
