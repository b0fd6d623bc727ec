"""CSR: a sparse autoencoder that reconstructs dense vectors, with a ranking loss over its codes.

References
----------
Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", 2025.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, Features, WrapperLoss
from pipelines.training.losses.multiple_negatives_ranking import MultipleNegativesRankingLoss
from pipelines.training.losses.splade import named


def reconstruction(columns: Sequence[Features], *, beta: float) -> dict[str, Tensor]:
    """Return the errors of reconstructing vectors from the k largest codes, from 4k, and from dead codes.

    Parameters
    ----------
    columns
        Outputs of the autoencoder in training mode: ``sentence_embedding_backbone`` and ``decoded_embedding_*``.
    beta
        Weight of the third error.
    """
    k_errors, four_k_errors, dead_errors = [], [], []
    for features in columns:
        truth = features["sentence_embedding_backbone"]
        k_errors.append(F.mse_loss(truth, features["decoded_embedding_k"]))
        four_k_errors.append(F.mse_loss(truth, features["decoded_embedding_4k"]))
        auxiliary = features["decoded_embedding_aux"]
        residual = truth - features["decoded_embedding_k_pre_bias"].detach()
        no_error = torch.zeros_like(k_errors[-1])
        dead_errors.append(no_error if auxiliary is None else _normalized_error(auxiliary, residual))
    return {
        "reconstruction_loss_k": torch.stack(k_errors).mean(),
        "reconstruction_loss_4k": torch.stack(four_k_errors).mean() / 8,
        "reconstruction_loss_aux": beta * torch.stack(dead_errors).mean(),
    }


class CSRReconstructionLoss(EmbeddingLoss):
    """`reconstruction` alone.

    Parameters
    ----------
    beta
        Weight of the error of dead codes.
    """

    def __init__(self, model: Any, beta: float = 1.0) -> None:
        super().__init__(model)
        self.beta = beta

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> dict[str, Tensor]:
        """Encode and decode the columns, and return the errors by name."""
        return reconstruction([self.model(column) for column in columns], beta=self.beta)

    def loss_from_embeddings(self, embeddings: Sequence[Any], labels: Any = None) -> dict[str, Tensor]:
        """Return the errors by name, of the autoencoder's outputs instead of embeddings."""
        return reconstruction(embeddings, beta=self.beta)


class CSRLoss(WrapperLoss):
    """The sum of `reconstruction` and another loss over the sparse codes.

    Parameters
    ----------
    loss
        By default multiple negatives ranking by dot product.
    beta, gamma
        Weights of the error of dead codes and of the other loss.
    """

    def __init__(self, model: Any, loss: EmbeddingLoss | None = None, beta: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(model, loss or MultipleNegativesRankingLoss(model, scale=1.0, similarity="dot"))
        self.warn_of_caching()
        self.beta, self.gamma = beta, gamma

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> dict[str, Tensor]:
        """Encode and decode the columns, and return the losses by name."""
        columns = list(columns)
        outputs = [self.model(column) for column in columns]
        losses = reconstruction(outputs, beta=self.beta)
        codes = [output["sentence_embedding"] for output in outputs]
        base = self.loss_from_embeddings(codes, self.targets(columns, labels))
        return losses | {name: value * self.gamma for name, value in named(base).items()}

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Any:
        """Return the other loss alone: codes do not contain the vectors to reconstruct."""
        return self.loss.loss_from_embeddings(embeddings, labels)


def _normalized_error(reconstructed: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error relative to that of predicting the mean."""
    spread = F.mse_loss(truth.mean(dim=0).expand_as(truth), truth)
    spread = torch.where((spread == 0) | (truth == truth[:1]).all(), 1.0, spread)
    return F.mse_loss(reconstructed, truth) / spread
