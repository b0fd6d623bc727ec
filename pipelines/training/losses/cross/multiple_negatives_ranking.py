"""Multiple negatives ranking for cross-encoders: a query's positive against documents of other queries."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.losses.base import check_columns
from pipelines.training.losses.cross.base import Columns, Pair, TupleLoss, check_texts, single_scores
from pipelines.training.losses.two_passes import TwoPasses


class MultipleNegativesRankingLoss(TupleLoss):
    """Cross-entropy of a query's positive among its own negatives and drawn documents of other queries.

    Parameters
    ----------
    num_negatives
        Documents of other queries, drawn for each query (4); None for all, whose cost is quadratic in the batch size.
    scale
        Factor of the activated logits (10).
    activation
        By default sigmoid.
    """

    def __init__(
        self,
        model: Any,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(model, activation or nn.Sigmoid())
        self.num_negatives, self.scale = num_negatives, scale

    def pairs(self, columns: Columns) -> list[Pair]:
        """Pair each query with its positive, the drawn documents and its own negatives, column after column."""
        check_columns(columns, 2, None, type(self).__name__, "query, positive[, negative ...]")
        check_texts(columns, type(self).__name__)
        drawn = in_batch_negatives(columns[1:], self.num_negatives)
        return super().pairs([*columns[:2], *drawn, *columns[2:]])

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Return the mean over the queries."""
        scores = self.scale * single_scores(logits, type(self).__name__).reshape(-1, len(columns[0])).T
        return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


class CachedMultipleNegativesRankingLoss(MultipleNegativesRankingLoss):
    """`MultipleNegativesRankingLoss` with gradient caching: the memory does not grow with the batch.

    Parameters
    ----------
    mini_batch_size
        Pairs scored at a time (32).
    """

    def __init__(self, model: Any, *positional: Any, mini_batch_size: int = 32, **arguments: Any) -> None:
        super().__init__(model, *positional, **arguments)
        self.mini_batch_size = mini_batch_size

    def forward(self, columns: Columns, labels: Any = None) -> Tensor:
        """Return the loss; backward through it scores the pairs a second time."""
        columns = [list(column) for column in columns]
        pairs = self.pairs(columns)
        pieces = [pairs[low : low + self.mini_batch_size] for low in range(0, len(pairs), self.mini_batch_size)]
        passes = TwoPasses(self.model, pieces, {weight.device for weight in self.parameters()})
        loss = self.loss_from_logits(self.activated(passes.output), columns, labels)
        if not torch.is_grad_enabled():
            return loss
        loss.backward()
        value = loss.detach().requires_grad_()
        value.register_hook(passes.backward)
        return value


def in_batch_negatives(columns: Columns, count: int | None) -> list[list[str]]:
    """Draw documents of other queries for each query, without replacement: `count` columns of them, or all (None)."""
    documents = [text for column in columns for text in column]
    rows = len(columns[0])
    others = ~torch.eye(rows, dtype=torch.bool).repeat(1, len(columns))
    if count is not None and count < len(documents) - len(columns):
        drawn = torch.multinomial(others.float(), count)
    else:
        drawn = torch.arange(len(documents)).repeat(rows, 1)[others].reshape(rows, -1)
    return [[documents[at] for at in column] for column in drawn.T.tolist()]
