"""SPLADE: any loss over embeddings, and a price on the work that an inverted index would have with them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.training.losses.base import EmbeddingLoss, Features, Loss


def flops(weights: Tensor, *, threshold: int | None = None) -> Tensor:
    """Give the sum over the terms of their mean weight squared: what an index is expected to multiply.

    Parameters
    ----------
    weights
        [texts, terms].
    threshold
        Texts of no more terms than this are left out of the sum, though they count in the mean.

    References
    ----------
    Paria et al., "Minimizing FLOPs to Learn Efficient Sparse Representations", 2020.
    """
    if threshold is not None:
        weights = weights * ((weights != 0).sum(dim=1, keepdim=True) > threshold)
    return (weights.mean(dim=0) ** 2).sum()


class SpladeLoss(EmbeddingLoss):
    """Another loss, by dot product as a rule, and `flops` of documents and queries, each at a weight of its own.

    Parameters
    ----------
    loss
        For instance ``MultipleNegativesRankingLoss(model, scale=1.0, similarity="dot")`` or `MarginMSELoss`.
    document_regularizer_weight, query_regularizer_weight
        Of `flops`; None leaves queries free, as for an inference-free query side. A trainer raises both from 0 to
        these over the first third of its steps.
    document_regularizer_threshold, query_regularizer_threshold
        See `flops`.
    use_document_regularizer_only
        All columns are documents.

    References
    ----------
    Formal et al., "SPLADE v2: Sparse Lexical and Expansion Model for Information Retrieval", 2021.
    """

    def __init__(
        self,
        model: Any,
        loss: EmbeddingLoss,
        document_regularizer_weight: float,
        query_regularizer_weight: float | None = None,
        *,
        document_regularizer_threshold: int | None = None,
        query_regularizer_threshold: int | None = None,
        use_document_regularizer_only: bool = False,
    ) -> None:
        super().__init__(model)
        self.loss, self.document_regularizer_weight = loss, document_regularizer_weight
        self.query_regularizer_weight = None if use_document_regularizer_only else query_regularizer_weight
        self.document_regularizer_threshold = document_regularizer_threshold
        self.query_regularizer_threshold = query_regularizer_threshold
        self.use_document_regularizer_only = use_document_regularizer_only

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> Any:
        """As the inner loss."""
        return self.loss.targets(columns, labels)

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> dict[str, Tensor]:
        """Give the inner loss and the prices, by name."""
        losses = named(self.loss.loss_from_embeddings(embeddings, labels))
        documents = torch.cat(list(embeddings if self.use_document_regularizer_only else embeddings[1:]))
        price = flops(documents, threshold=self.document_regularizer_threshold)
        losses["document_regularizer_loss"] = price * self.document_regularizer_weight
        if self.query_regularizer_weight is not None:
            price = flops(embeddings[0], threshold=self.query_regularizer_threshold)
            losses["query_regularizer_loss"] = price * self.query_regularizer_weight
        return losses

    @property
    def settings(self) -> dict[str, Any]:
        """Its own arguments, and the inner loss's."""
        inner = {f"loss.{name}": value for name, value in self.loss.settings.items()}
        return super().settings | {"loss": type(self.loss).__name__} | inner


def named(loss: Loss, name: str = "base_loss") -> dict[str, Tensor]:
    """Give a loss's parts by name; one number is called `name`."""
    return dict(loss) if isinstance(loss, dict) else {name: loss}
