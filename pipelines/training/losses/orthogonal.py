"""Global orthogonal regularization: vectors of different texts spread over the whole space.

References
----------
Zhang et al., "Learning Spread-Out Local Feature Descriptors", 2017.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss
from pipelines.training.losses.similarity import Metric, all_pairs, check_metric


def spread(vectors: Tensor, metric: Metric = "cosine") -> tuple[Tensor, Tensor]:
    """Return the squared mean of the similarities of different rows, and max(0, their mean square - 1 / width)."""
    similarities = all_pairs(metric, vectors, vectors)
    similarities = similarities - torch.diag(similarities.diagonal())
    pairs = max(len(vectors) * (len(vectors) - 1), 1)
    second = similarities.square().sum() / pairs
    return (similarities.sum() / pairs) ** 2, torch.relu(second - 1 / vectors.shape[1])


class GlobalOrthogonalRegularizationLoss(EmbeddingLoss):
    """`spread` of each column, to be added to another loss.

    Parameters
    ----------
    similarity
        "cosine" or "dot".
    mean_weight, second_moment_weight
        Weights of both parts; 0 or None leaves a part out.
    aggregation
        "mean" or "sum" over the columns.
    """

    def __init__(
        self,
        model: Any,
        similarity: Metric = "cosine",
        mean_weight: float | None = 1.0,
        second_moment_weight: float | None = 1.0,
        aggregation: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(model)
        check_metric(similarity)
        if aggregation not in ("mean", "sum"):
            raise InputError(f"aggregation must be mean or sum, not {aggregation!r}")
        if not mean_weight and not second_moment_weight:
            raise InputError("mean_weight and second_moment_weight must not both be 0: the loss would be empty")
        self.similarity, self.aggregation = similarity, aggregation
        self.mean_weight, self.second_moment_weight = mean_weight, second_moment_weight

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> dict[str, Tensor]:
        """Return both parts by name."""
        means, seconds = zip(*(spread(column, self.similarity) for column in embeddings), strict=True)
        weighted = {"gor_mean": (self.mean_weight, means), "gor_second_moment": (self.second_moment_weight, seconds)}
        return {name: weight * self._joined(torch.stack(parts)) for name, (weight, parts) in weighted.items() if weight}

    def _joined(self, parts: Tensor) -> Tensor:
        return parts.sum() if self.aggregation == "sum" else parts.mean()
