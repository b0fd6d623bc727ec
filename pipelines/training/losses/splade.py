"""SPLADE: any loss over embeddings, with a regularizer on the work of an inverted index."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.training.losses.base import EmbeddingLoss, Loss, WrapperLoss


def flops(weights: Tensor, *, threshold: int | None = None) -> Tensor:
    """Return the sum over the terms of their squared mean weight: the expected number of multiplications of an index.

    Parameters
    ----------
    weights
        [texts, terms].
    threshold
        Texts with at most this many terms contribute zeros to the means.

    References
    ----------
    Paria et al., "Minimizing FLOPs to Learn Efficient Sparse Representations", 2020.
    """
    if threshold is not None:
        weights = weights * ((weights != 0).sum(dim=1, keepdim=True) > threshold)
    return (weights.mean(dim=0) ** 2).sum()


class FlopsLoss(EmbeddingLoss):
    """`flops` of all texts of a batch, alone: no model learns from it without another loss.

    Parameters
    ----------
    threshold
        See `flops`.
    """

    def __init__(self, model: Any, threshold: int | None = None) -> None:
        super().__init__(model)
        self.threshold = threshold

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the expected number of multiplications, over the texts of all columns."""
        return flops(torch.cat(list(embeddings)), threshold=self.threshold)


class SpladeLoss(WrapperLoss):
    """The sum of another loss, usually by dot product, and the weighted `flops` of documents and queries.

    Parameters
    ----------
    loss
        For instance ``MultipleNegativesRankingLoss(model, scale=1.0, similarity="dot")`` or `MarginMSELoss`.
    document_regularizer_weight, query_regularizer_weight
        Weights of `flops`; None leaves queries unregularized, as for an inference-free query encoder. A trainer raises
        both from 0 to these values over the first third of its steps.
    document_regularizer_threshold, query_regularizer_threshold
        See `flops`.
    use_document_regularizer_only
        Treat all columns as documents.

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
        super().__init__(model, loss)
        self.document_regularizer_weight = document_regularizer_weight
        self.query_regularizer_weight = None if use_document_regularizer_only else query_regularizer_weight
        self.document_regularizer_threshold = document_regularizer_threshold
        self.query_regularizer_threshold = query_regularizer_threshold
        self.use_document_regularizer_only = use_document_regularizer_only

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> dict[str, Tensor]:
        """Return the inner loss and the regularizers by name."""
        losses = named(self.loss.loss_from_embeddings(embeddings, labels))
        documents = torch.cat(list(embeddings if self.use_document_regularizer_only else embeddings[1:]))
        cost = flops(documents, threshold=self.document_regularizer_threshold)
        losses["document_regularizer_loss"] = cost * self.document_regularizer_weight
        if self.query_regularizer_weight is not None:
            cost = flops(embeddings[0], threshold=self.query_regularizer_threshold)
            losses["query_regularizer_loss"] = cost * self.query_regularizer_weight
        return losses


def named(loss: Loss, name: str = "base_loss") -> dict[str, Tensor]:
    """Return the parts of a loss by name; a scalar gets the name `name`."""
    return dict(loss) if isinstance(loss, dict) else {name: loss}
