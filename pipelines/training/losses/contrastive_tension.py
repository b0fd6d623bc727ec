"""Contrastive tension: two copies of a model agree on a text, without labels.

References
----------
Carlsson et al., "Semantic Re-tuning with Contrastive Tension", 2021.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, Features, check_columns
from pipelines.training.losses.similarity import Metric, all_pairs, check_metric


class _TwoModels(EmbeddingLoss):
    """Base class of losses with a second copy of the model, which is trained too and not saved."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.copied = copy.deepcopy(self.model)


class ContrastiveTensionLoss(_TwoModels):
    """The binary cross-entropy, summed, of the dot product of (text by the copy, text by the model).

    The label is 1 where both texts are equal and 0 otherwise; without labels, equal tokens count as equal texts.
    `tension_pairs` makes such pairs of a list of texts.
    """

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:
        """Embed the first column with the copy and the second with the model, and return the loss."""
        first, second = check_columns(list(columns), 2, 2, "ContrastiveTensionLoss", "text, text")
        embeddings = [self.copied(first)["sentence_embedding"], self.embed(second)]
        return self.loss_from_embeddings(embeddings, self.targets([first, second], labels))

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> Tensor:
        """Return the labels, or whether both texts of a row have the same tokens."""
        if labels is not None:
            return labels.reshape(-1)
        first, second = (_tokens(column) for column in columns)
        same = [torch.equal(one, other) for one, other in zip(first, second, strict=True)]
        return torch.tensor(same, dtype=torch.float32, device=columns[0]["input_ids"].device)

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the sum over the rows."""
        scores = (embeddings[0] * embeddings[1]).sum(dim=-1)
        return F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="sum")


class ContrastiveTensionLossInBatchNegatives(_TwoModels):
    """The symmetric cross-entropy of each text by the copy with the same text by the model, among all texts of a batch.

    Parameters
    ----------
    scale
        Initial factor of the similarities; it is trained.
    similarity
        "cosine" or "dot".
    """

    def __init__(self, model: Any, scale: float = 20.0, similarity: Metric = "cosine") -> None:
        super().__init__(model)
        check_metric(similarity)
        self.scale, self.similarity = scale, similarity
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale), device=getattr(self.model, "device", None)))

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:
        """Embed the first column with both models, and return the loss."""
        first = list(columns)[0]  # noqa: RUF015
        return self.loss_from_embeddings([self.copied(first)["sentence_embedding"], self.embed(first)])

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows of both directions."""
        scores = all_pairs(self.similarity, embeddings[0], embeddings[1]) * self.logit_scale.exp()
        own = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def _tokens(column: Features) -> list[Tensor]:
    mask = column["attention_mask"].bool()
    return [ids[kept] for ids, kept in zip(column["input_ids"], mask, strict=True)]
