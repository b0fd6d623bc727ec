"""Mega-batch margin: the hardest negative of each anchor among the positives of a large batch.

References
----------
Wieting and Gimpel, "ParaNMT-50M: Pushing the Limits of Paraphrastic Sentence Embeddings", 2018.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import Features, Loss, SplitLoss, check_columns
from pipelines.training.losses.cached import CachedLoss
from pipelines.training.losses.similarity import all_pairs


class _Margins(SplitLoss):
    """The margin loss of a whole batch; see `MegaBatchMarginLoss`."""

    def __init__(self, model: Any, positive_margin: float, negative_margin: float) -> None:
        super().__init__(model)
        self.positive_margin, self.negative_margin = positive_margin, negative_margin

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield addends of the mean over the rows."""
        anchors, positives = check_columns(embeddings, 2, 2, "MegaBatchMarginLoss", "anchor, positive")
        for low in range(0, len(anchors), max(1, rows)):
            scores = all_pairs("cosine", anchors[low : low + rows], positives)
            own = torch.arange(len(scores), device=scores.device)
            others = scores.masked_fill(F.one_hot(own + low, len(positives)).bool(), -torch.inf).amax(dim=1)
            losses = F.relu(self.positive_margin - scores[own, own + low]) + F.relu(others - self.negative_margin)
            yield losses.sum() / len(anchors)


class MegaBatchMarginLoss(CachedLoss):
    """The mean of max(0, positive_margin - s(a, p)) + max(0, s(a, n) - negative_margin) of (anchor, positive).

    s is the cosine, and n the most similar positive of another row. Useful batches have 500 rows and more, so the loss
    caches gradients (`CachedLoss`).

    Parameters
    ----------
    positive_margin, negative_margin
        Cosine that positives should exceed, and negatives stay below.
    use_mini_batched_version
        Embed the texts in mini-batches, with the gradients of the whole batch.
    mini_batch_size, mini_batch_num_tokens
        See `CachedLoss`.
    """

    def __init__(
        self,
        model: Any,
        positive_margin: float = 0.8,
        negative_margin: float = 0.3,
        use_mini_batched_version: bool = True,
        mini_batch_size: int = 50,
        mini_batch_num_tokens: int | None = None,
    ) -> None:
        super().__init__(
            model,
            _Margins(model, positive_margin, negative_margin),
            mini_batch_size=mini_batch_size,
            mini_batch_num_tokens=mini_batch_num_tokens,
        )
        self.use_mini_batched_version = use_mini_batched_version

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Loss:
        """Return the loss."""
        return super().forward(columns, labels) if self.use_mini_batched_version else self.loss(columns, labels)
