"""CSR: a sparse autoencoder that gives dense vectors back and tells texts apart.

References
----------
Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", 2025.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, Features
from pipelines.training.losses.multiple_negatives_ranking import MultipleNegativesRankingLoss
from pipelines.training.losses.splade import named


def reconstruction(columns: Sequence[Features], *, beta: float) -> dict[str, Tensor]:
    """Give the errors of the vectors given back from the k largest codes, from 4k, and from codes that died.

    Parameters
    ----------
    columns
        What the autoencoder gave while training: ``sentence_embedding_backbone`` and ``decoded_embedding_*``.
    beta
        Weight of the third.
    """
    first, four, dead = [], [], []
    for features in columns:
        truth, given_back = features["sentence_embedding_backbone"], features["decoded_embedding_k"]
        first.append(F.mse_loss(truth, given_back))
        four.append(F.mse_loss(truth, features["decoded_embedding_4k"]))
        auxiliary = features["decoded_embedding_aux"]
        missed = truth - features["decoded_embedding_k_pre_bias"].detach()
        dead.append(torch.zeros_like(first[-1]) if auxiliary is None else _normalized_error(auxiliary, missed))
    return {
        "reconstruction_loss_k": torch.stack(first).mean(),
        "reconstruction_loss_4k": torch.stack(four).mean() / 8,
        "reconstruction_loss_aux": beta * torch.stack(dead).mean(),
    }


class CSRLoss(EmbeddingLoss):
    """`reconstruction`, and another loss over the sparse codes.

    Parameters
    ----------
    loss
        Multiple negatives ranking by dot product, unless given.
    beta, gamma
        Weights of the error of codes that died, and of the other loss.
    """

    def __init__(self, model: Any, loss: EmbeddingLoss | None = None, beta: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(model)
        self.loss = loss or MultipleNegativesRankingLoss(model, scale=1.0, similarity="dot")
        self.beta, self.gamma = beta, gamma

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> dict[str, Tensor]:
        """Encode and decode the columns, and give the losses by name."""
        columns = list(columns)
        outputs = [self.model(column) for column in columns]
        losses = reconstruction(outputs, beta=self.beta)
        codes = [output["sentence_embedding"] for output in outputs]
        base = self.loss.loss_from_embeddings(codes, self.loss.targets(columns, labels))
        return losses | {name: value * self.gamma for name, value in named(base).items()}

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Any:
        """Give the other loss alone: codes do not say what they were made of."""
        return self.loss.loss_from_embeddings(embeddings, labels)


def _normalized_error(given_back: Tensor, truth: Tensor) -> Tensor:
    spread = F.mse_loss(truth.mean(dim=0).expand_as(truth), truth)
    spread = torch.where((spread == 0) | (truth == truth[:1]).all(), 1.0, spread)
    return F.mse_loss(given_back, truth) / spread
