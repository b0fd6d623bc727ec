"""Triplets found in the batch: texts of one class close together, those of other classes farther away.

References
----------
Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017 (all, hard, soft margin);
Schroff, Kalenichenko and Philbin, "FaceNet", 2015 (semi-hard).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.losses.base import EmbeddingLoss, columns_of, row_labels
from pipelines.training.losses.similarity import check_metric, distances_within


def batch_all(distances: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Give the mean of d(a, p) - d(a, n) + margin over all triplets of the batch for which it is above 0."""
    anchors, positives = _same(labels).nonzero(as_tuple=True)
    losses = distances[anchors, positives, None] - distances[anchors] + margin
    losses = (losses * (labels[anchors, None] != labels[None, :])).clamp(min=0)
    return losses.sum() / ((losses > 1e-16).sum() + 1e-16)


def hardest(distances: Tensor, labels: Tensor) -> Tensor:
    """Give each anchor's distance to its farthest positive less that to its nearest negative: [rows]."""
    positive = (distances * _same(labels)).amax(dim=1)
    other = labels[:, None] != labels[None, :]
    # Not infinity, so that a class that fills the batch gives a finite loss.
    negative = (distances + distances.amax(dim=1, keepdim=True) * ~other).amin(dim=1)
    return positive - negative


def semi_hard(distances: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Give the mean of max(0, d(a, p) - d(a, n) + margin) over all positive pairs.

    n is the nearest negative that is farther from a than p, or else the farthest negative.
    """
    count = len(labels)
    alike = labels[:, None] == labels[None, :]
    negatives = distances.masked_fill(alike, torch.inf).sort(dim=1, stable=True).values
    places = torch.searchsorted(negatives.detach().contiguous(), distances.detach().contiguous(), right=True)
    outside = negatives.gather(1, places.clamp(max=count - 1))
    lowest = distances.amin(dim=1, keepdim=True)
    inside = ((distances - lowest) * ~alike).amax(dim=1, keepdim=True) + lowest
    chosen = torch.where(torch.isfinite(outside), outside, inside)
    pairs = _same(labels)
    return ((distances - chosen + margin) * pairs).clamp(min=0).sum() / pairs.sum().clamp(min=1e-16)


class _BatchTripletLoss(EmbeddingLoss):
    """One column of texts, whose class is the label."""

    def __init__(self, model: Any, distance: Literal["euclidean", "cosine"] = "euclidean", margin: float = 5.0) -> None:
        super().__init__(model)
        check_metric(distance, ("euclidean", "cosine"))
        self.distance, self.margin = distance, margin

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Give the loss of the batch."""
        (vectors,) = columns_of(embeddings, 1, 1, type(self).__name__, "text, with its class as the label")
        classes = row_labels(labels, len(vectors), type(self).__name__)
        return self.of(distances_within(self.distance, vectors), classes)

    def of(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Give the loss from distances [rows, rows] and classes [rows]."""
        raise NotImplementedError


class BatchAllTripletLoss(_BatchTripletLoss):
    """`batch_all` of (text) with a class."""

    def of(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of the batch."""
        return batch_all(distances, labels, margin=self.margin)


class BatchHardTripletLoss(_BatchTripletLoss):
    """The mean of max(0, `hardest` + margin) of (text) with a class."""

    def of(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of the batch."""
        return F.relu(hardest(distances, labels) + self.margin).mean()


class BatchHardSoftMarginTripletLoss(_BatchTripletLoss):
    """The mean of log(1 + exp(`hardest`)) of (text) with a class: no margin to choose."""

    def __init__(self, model: Any, distance: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__(model, distance)

    def of(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of the batch."""
        return F.softplus(hardest(distances, labels)).mean()


class BatchSemiHardTripletLoss(_BatchTripletLoss):
    """`semi_hard` of (text) with a class."""

    def of(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of the batch."""
        return semi_hard(distances, labels, margin=self.margin)


def _same(labels: Tensor) -> Tensor:
    """Which two rows are of one class, and not the same row."""
    return (labels[:, None] == labels[None, :]) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
