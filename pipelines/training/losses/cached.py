"""Gradient caching: train on batches larger than memory, with the gradients of the whole batch.

The first pass embeds the texts without gradients, computes the loss over all embeddings and stores its gradient with
respect to each. The second pass embeds the texts again in mini-batches, from the same random state, and backpropagates
the stored gradients. Up to rounding the result equals that of one large batch.

References
----------
Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss, Features, Loss, WrapperLoss, row_ranges, total
from pipelines.training.losses.gist import GISTEmbedLoss
from pipelines.training.losses.multiple_negatives_ranking import (
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)
from pipelines.training.losses.splade import SpladeLoss
from pipelines.training.losses.two_passes import TwoPasses


class CachedLoss(WrapperLoss):
    """Any loss over embeddings, with gradient caching.

    Parameters
    ----------
    loss
        The loss of the whole batch.
    mini_batch_size
        Texts embedded at a time, and rows of the similarity matrix held in memory (32).
    mini_batch_num_tokens
        Tokens embedded at a time, instead of texts: this wastes nothing on short texts.
    """

    def __init__(
        self,
        model: Any,
        loss: EmbeddingLoss,
        *,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
    ) -> None:
        super().__init__(model, loss)
        if mini_batch_size < 1 or (mini_batch_num_tokens is not None and mini_batch_num_tokens < 1):
            raise InputError("mini_batch_size and mini_batch_num_tokens must be at least 1")
        self.mini_batch_size, self.mini_batch_num_tokens = mini_batch_size, mini_batch_num_tokens

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Loss:
        """Return the loss; backward through it embeds the texts a second time."""
        return self.forward_of(self.loss, columns, labels)

    def caching(self) -> "CachedLoss":
        """Return this loss."""
        return self

    def forward_of(self, outer: EmbeddingLoss, columns: Sequence[Features], labels: Tensor | None = None) -> Loss:
        """Return another loss, usually one around this one, with the gradient caching of this one."""
        passes = [
            TwoPasses(
                self.loss.embed,
                row_ranges(column, self.mini_batch_size, self.mini_batch_num_tokens),
                [column["attention_mask"].device],
            )
            for column in columns
        ]
        vectors = [column.output for column in passes]
        targets = outer.targets(columns, labels)
        if not torch.is_grad_enabled():
            return outer.loss_from_embeddings(vectors, targets)
        values = self._backward_to(outer, vectors, targets)
        if unused := [str(at) for at, column in enumerate(vectors) if column.grad is None]:
            raise InputError(
                f"{type(outer).__name__} does not use column {', '.join(unused)} (counted from 0), which would be "
                "embedded twice for nothing: leave it out of the data"
            )
        loss = sum(values.values(), start=torch.zeros_like(next(iter(values.values())))).requires_grad_()
        loss.register_hook(partial(_backward, passes))
        if len(values) == 1:
            return loss
        # The parts are for the log; the gradient flows through the first.
        first, *others = values
        return {first: loss - sum(values[name] for name in others), **{name: values[name] for name in others}}

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Loss:
        """Return the inner loss."""
        return self.loss.loss_from_embeddings(embeddings, labels)

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield the parts of the inner loss, each over at most `mini_batch_size` rows."""
        yield from self.loss.parts(embeddings, labels, min(rows, self.mini_batch_size))

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the inner loss and own ones."""
        return self.loss.settings | super(WrapperLoss, self).settings

    def _backward_to(self, outer: EmbeddingLoss, vectors: list[Tensor], targets: Any) -> dict[str, Tensor]:
        """Compute the outer loss and the gradients of `vectors`; return the values of the loss's parts by name."""
        if isinstance(outer, SpladeLoss):
            loss = outer.loss_from_embeddings(vectors, targets)
            total(loss).backward()
            return {name: value.detach() for name, value in loss.items()}
        value = torch.zeros((), device=vectors[0].device)
        for part in outer.parts(vectors, targets, self.mini_batch_size):
            # Parts may share a graph, for example the truncation of all vectors to fewer dimensions.
            part.backward(retain_graph=True)
            value = value + part.detach()
        return {"loss": value}


class _CachedVariant(CachedLoss):
    """Base class of losses named after the cached loss: its arguments, and by keyword those of `CachedLoss`."""

    inner: ClassVar[type[EmbeddingLoss]]

    def __init__(
        self,
        model: Any,
        *positional: Any,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        **arguments: Any,
    ) -> None:
        loss = self.inner(model, *positional, **arguments)
        super().__init__(model, loss, mini_batch_size=mini_batch_size, mini_batch_num_tokens=mini_batch_num_tokens)


class CachedMultipleNegativesRankingLoss(_CachedVariant):
    """`MultipleNegativesRankingLoss` with gradient caching: its arguments and those of `CachedLoss`."""

    inner = MultipleNegativesRankingLoss


class CachedMultipleNegativesSymmetricRankingLoss(_CachedVariant):
    """`MultipleNegativesSymmetricRankingLoss` with gradient caching: its arguments and those of `CachedLoss`."""

    inner = MultipleNegativesSymmetricRankingLoss


class CachedGISTEmbedLoss(_CachedVariant):
    """`GISTEmbedLoss` with gradient caching: its arguments and those of `CachedLoss`."""

    inner = GISTEmbedLoss


class CachedSpladeLoss(_CachedVariant):
    """`SpladeLoss` with gradient caching: its arguments and those of `CachedLoss`."""

    inner = SpladeLoss
    loss: SpladeLoss


def _backward(passes: Sequence[TwoPasses], slope: Tensor) -> None:
    for column in passes:
        column.backward(slope)
