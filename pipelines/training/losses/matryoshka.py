"""Matryoshka: train the first dimensions of a vector to be usable alone."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.training.losses.base import EmbeddingLoss, SplitLoss, WrapperLoss


def shrink(vectors: Tensor, dimensions: int) -> Tensor:
    """Return the first `dimensions` of each row, normalized to length 1."""
    return F.normalize(vectors[..., :dimensions], dim=-1)


class MatryoshkaLoss(WrapperLoss, SplitLoss):
    """The weighted sum of another loss over the vectors truncated to each of several widths.

    Parameters
    ----------
    loss
        The loss at each width.
    matryoshka_dims
        The widths; include the model's full width, which is not trained otherwise.
    matryoshka_weights
        One weight per width (1 each).
    n_dims_per_step
        Number of widths, drawn anew in each step; -1 for all.

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
        super().__init__(model, loss)
        if not matryoshka_dims or min(matryoshka_dims) < 1:
            raise InputError(f"matryoshka_dims must be one or more widths above 0, not {list(matryoshka_dims)}")
        weights = [1.0] * len(matryoshka_dims) if matryoshka_weights is None else list(matryoshka_weights)
        if len(weights) != len(matryoshka_dims):
            raise InputError(
                f"matryoshka_weights has {counted(len(weights), 'number')} for {len(matryoshka_dims)} widths"
            )
        widest_first = sorted(zip(matryoshka_dims, weights, strict=True), reverse=True)
        self.n_dims_per_step = n_dims_per_step
        self.matryoshka_dims = tuple(width for width, _ in widest_first)
        self.matryoshka_weights = tuple(weight for _, weight in widest_first)

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield the parts of the inner loss, weighted, for each width of this step."""
        full = embeddings[0].shape[-1]
        if self.matryoshka_dims[0] > full:
            raise InputError(f"matryoshka_dims holds {self.matryoshka_dims[0]}, and the model's vectors have {full}")
        numbers = range(len(self.matryoshka_dims))
        if 0 < self.n_dims_per_step < len(numbers):
            numbers = sorted(random.sample(numbers, self.n_dims_per_step))  # type: ignore[assignment]
        for number in numbers:
            width, weight = self.matryoshka_dims[number], self.matryoshka_weights[number]
            truncated = [shrink(column, width) for column in embeddings]
            for part in self.loss.parts(truncated, _truncate_labels(labels, full, width), rows):
                yield weight * part


def _truncate_labels(labels: Any, full: int, width: int) -> Any:
    """Truncate labels that are vectors as the embeddings are truncated."""
    is_vectors = isinstance(labels, Tensor) and labels.ndim in (2, 3) and labels.shape[-1] == full
    return labels[..., :width] if is_vectors else labels
