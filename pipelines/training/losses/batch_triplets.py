"""Triplet losses that form triplets within the batch: texts of one class closer together than those of other classes.

References
----------
Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017 (all, hard, soft margin);
Schroff, Kalenichenko and Philbin, "FaceNet", 2015 (semi-hard).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, check_columns, row_labels
from pipelines.training.losses.similarity import check_metric, distances_within


def batch_all(distances: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Return the mean of d(a, p) - d(a, n) + margin over all triplets of the batch for which it is above 0."""
    anchors, positives = _same(labels).nonzero(as_tuple=True)
    losses = distances[anchors, positives, None] - distances[anchors] + margin
    losses = (losses * (labels[anchors, None] != labels[None, :])).clamp(min=0)
    return losses.sum() / ((losses > 1e-16).sum() + 1e-16)


def hardest(distances: Tensor, labels: Tensor) -> Tensor:
    """Return each anchor's distance to its farthest positive minus that to its nearest negative, [rows]."""
    positive = (distances * _same(labels)).amax(dim=1)
    other = labels[:, None] != labels[None, :]
    # A finite value instead of infinity, so that a batch of one class has a finite loss.
    negative = (distances + distances.amax(dim=1, keepdim=True) * ~other).amin(dim=1)
    return positive - negative


def semi_hard(distances: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + margin) over all positive pairs.

    n is the nearest negative that is farther from a than p is, or the farthest negative if there is none.
    """
    count = len(labels)
    alike = labels[:, None] == labels[None, :]
    negatives = distances.masked_fill(alike, torch.inf).sort(dim=1, stable=True).values
    positions = torch.searchsorted(negatives.detach().contiguous(), distances.detach().contiguous(), right=True)
    outside = negatives.gather(1, positions.clamp(max=count - 1))
    lowest = distances.amin(dim=1, keepdim=True)
    inside = ((distances - lowest) * ~alike).amax(dim=1, keepdim=True) + lowest
    negative = torch.where(torch.isfinite(outside), outside, inside)
    pairs = _same(labels)
    return ((distances - negative + margin) * pairs).clamp(min=0).sum() / pairs.sum().clamp(min=1e-16)


class _BatchTripletLoss(EmbeddingLoss):
    """Base class of losses over one column of texts whose label is their class."""

    def __init__(self, model: Any, distance: Literal["euclidean", "cosine"] = "euclidean", margin: float = 5.0) -> None:
        super().__init__(model)
        check_metric(distance, ("euclidean", "cosine"))
        self.distance, self.margin = distance, margin

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the loss of the batch."""
        (vectors,) = check_columns(embeddings, 1, 1, type(self).__name__, "text, with its class as the label")
        classes = row_labels(labels, len(vectors), type(self).__name__)
        return self.loss_from_distances(distances_within(self.distance, vectors), classes)

    @abstractmethod
    def loss_from_distances(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of distances [rows, rows] and classes [rows]."""


class BatchAllTripletLoss(_BatchTripletLoss):
    """`batch_all` over texts labeled with their class."""

    def loss_from_distances(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch."""
        return batch_all(distances, labels, margin=self.margin)


class BatchHardTripletLoss(_BatchTripletLoss):
    """The mean of max(0, `hardest` + margin) over texts labeled with their class."""

    def loss_from_distances(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch."""
        return F.relu(hardest(distances, labels) + self.margin).mean()


class BatchHardSoftMarginTripletLoss(_BatchTripletLoss):
    """The mean of log(1 + exp(`hardest`)) over texts labeled with their class: no margin to choose."""

    def __init__(self, model: Any, distance: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__(model, distance)

    def loss_from_distances(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch."""
        return F.softplus(hardest(distances, labels)).mean()


class BatchSemiHardTripletLoss(_BatchTripletLoss):
    """`semi_hard` over texts labeled with their class."""

    def loss_from_distances(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch."""
        return semi_hard(distances, labels, margin=self.margin)


def _same(labels: Tensor) -> Tensor:
    """Return where two different rows are of one class, bool [rows, rows]."""
    return (labels[:, None] == labels[None, :]) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
