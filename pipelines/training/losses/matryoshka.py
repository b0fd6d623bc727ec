"""Matryoshka: the first dimensions of a vector are trained to be a vector of their own."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss, Features


def shrink(vectors: Tensor, dimensions: int) -> Tensor:
    """Keep the first `dimensions` of each row, at length 1."""
    return F.normalize(vectors[..., :dimensions], dim=-1)


class MatryoshkaLoss(EmbeddingLoss):
    """The weighted sum of another loss over the vectors cut to each of some widths.

    Parameters
    ----------
    loss
        What is summed.
    matryoshka_dims
        The widths; put the model's own among them, or it is not trained.
    matryoshka_weights
        One a width (1 each).
    n_dims_per_step
        So many widths, drawn anew each step; -1 for all.

    References
    ----------
    Kusupati et al., "Matryoshka Representation Learning", 2022.
    """

    def __init__(
        self,
        model: Any,
        loss: EmbeddingLoss,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        n_dims_per_step: int = -1,
    ) -> None:
        super().__init__(model)
        if not matryoshka_dims or min(matryoshka_dims) < 1:
            raise InputError(f"matryoshka_dims must be one or more widths above 0, not {list(matryoshka_dims)}")
        weights = [1.0] * len(matryoshka_dims) if matryoshka_weights is None else list(matryoshka_weights)
        if len(weights) != len(matryoshka_dims):
            raise InputError(f"matryoshka_weights has {len(weights)} numbers for {len(matryoshka_dims)} widths")
        both = sorted(zip(matryoshka_dims, weights, strict=True), reverse=True)
        self.loss, self.n_dims_per_step = loss, n_dims_per_step
        self.matryoshka_dims = tuple(width for width, _ in both)
        self.matryoshka_weights = tuple(weight for _, weight in both)

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> Any:
        """As the inner loss."""
        return self.loss.targets(columns, labels)

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Give the weighted sum over the widths of this step."""
        return torch.stack(list(self.parts(embeddings, labels, len(embeddings[0])))).sum()

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Give the inner loss's parts, one width after the other."""
        full = embeddings[0].shape[-1]
        if self.matryoshka_dims[0] > full:
            raise InputError(f"matryoshka_dims holds {self.matryoshka_dims[0]}, and the model's vectors have {full}")
        chosen = range(len(self.matryoshka_dims))
        if 0 < self.n_dims_per_step < len(chosen):
            chosen = sorted(random.sample(chosen, self.n_dims_per_step))  # type: ignore[assignment]
        for at in chosen:
            width, weight = self.matryoshka_dims[at], self.matryoshka_weights[at]
            cut = [shrink(column, width) for column in embeddings]
            for part in self.loss.parts(cut, _cut(labels, full, width), rows):
                yield weight * part

    @property
    def settings(self) -> dict[str, Any]:
        """Its own arguments, and the inner loss's."""
        inner = {f"loss.{name}": value for name, value in self.loss.settings.items()}
        return super().settings | {"loss": type(self.loss).__name__} | inner


def _cut(labels: Any, full: int, width: int) -> Any:
    """Cut labels that are vectors as the embeddings are cut."""
    is_vectors = isinstance(labels, Tensor) and labels.ndim in (2, 3) and labels.shape[-1] == full
    return labels[..., :width] if is_vectors else labels
