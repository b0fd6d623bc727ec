"""MarginMSE: the student learns a teacher's margin between positive and negative."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.training.losses.base import EmbeddingLoss, check_columns
from pipelines.training.losses.similarity import Metric, check_metric, row_by_row


def margins(labels: Tensor, negatives: int, name: str) -> Tensor:
    """Return a teacher's labels as margins [rows, negatives].

    Parameters
    ----------
    labels
        Margins [rows, negatives], or scores of the positive and the negatives [rows, 1 + negatives].

    Raises
    ------
    InputError
        If the labels have neither shape.
    """
    if labels.ndim == 2 and labels.shape[1] == negatives + 1:
        labels = labels[:, :1] - labels[:, 1:]
    if labels.ndim == 1:
        labels = labels[:, None]
    if labels.ndim != 2 or labels.shape[1] != negatives:
        raise InputError(
            f"{name} with {counted(negatives, 'negative')} needs that many margins per row, or "
            f"{counted(negatives + 1, 'score')} (of the positive and the negatives); "
            f"the labels have the shape {tuple(labels.shape)}"
        )
    return labels.detach()


class MarginMSELoss(EmbeddingLoss):
    """The mean of (s(q, positive) - s(q, negative) - teacher's margin)² over (query, positive, negative ...).

    References
    ----------
    Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation", 2020.
    """

    def __init__(self, model: Any, similarity: Metric = "dot") -> None:
        super().__init__(model)
        check_metric(similarity)
        self.similarity = similarity

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over rows and negatives."""
        name = type(self).__name__
        query, positive, *negatives = check_columns(embeddings, 3, None, name, "query, positive, negative ...")
        if labels is None:
            raise InputError(f"{name} needs the teacher's scores: a column named label, labels, score or scores")
        truth = margins(labels, len(negatives), name).to(query.dtype)
        scores = torch.stack([row_by_row(self.similarity, query, column) for column in (positive, *negatives)], dim=1)
        return F.mse_loss(scores[:, :1] - scores[:, 1:], truth)
