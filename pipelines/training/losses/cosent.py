"""CoSENT and AnglE: pairs with a higher label should be more similar than pairs with a lower label."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss, check_columns, row_labels
from pipelines.training.losses.similarity import angle, row_by_row


def cosent(similarities: Tensor, labels: Tensor, *, scale: float = 20.0) -> Tensor:
    """Return log(1 + sum of exp(scale * (s_i - s_j)) over all pairs of rows with label_i < label_j).

    Parameters
    ----------
    similarities, labels
        [rows].

    References
    ----------
    Su, "CoSENT: a more effective sentence vector scheme than Sentence-BERT", 2022 (kexue.fm/archives/8847).
    """
    scores = scale * (similarities.float() if similarities.dtype in (torch.float16, torch.bfloat16) else similarities)
    labels, order = (labels.int() if labels.dtype == torch.bool else labels).sort()
    scores = scores[order]
    # The sum over j of exp(-s_j) runs over the end of the rows sorted by label: linear instead of all pairs.
    tails = torch.logcumsumexp(-scores.flip(0), dim=0).flip(0)
    tails = torch.cat((tails, scores.new_full((1,), -torch.inf)))
    above = torch.searchsorted(labels, labels, right=True)
    return torch.logsumexp(torch.cat((scores.new_zeros(1), scores + tails[above])), dim=0)


class CoSENTLoss(EmbeddingLoss):
    """`cosent` over the cosine of (text, text) with a label, in any range."""

    def __init__(self, model: Any, scale: float = 20.0) -> None:
        super().__init__(model)
        self.scale = scale

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the loss of the batch."""
        first, second = check_columns(embeddings, 2, 2, type(self).__name__, "text, text, with a label")
        truth = row_labels(labels, len(first), type(self).__name__)
        return cosent(self.similarities(first, second), truth, scale=self.scale)

    def similarities(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the similarity of the two texts of each row, [rows]."""
        return row_by_row("cosine", first, second)


class AnglELoss(CoSENTLoss):
    """`cosent` over the angle in complex space, which unlike the cosine does not saturate.

    Also reads (anchor, positive, negative ...): the label of a negative is 1 minus that of the positive (1 unless
    given).

    References
    ----------
    Li and Li, "AnglE-optimized Text Embeddings", 2023.
    """

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the loss of the batch."""
        check_columns(embeddings, 2, None, "AnglELoss", "text, text, with a label; or anchor, positive, negative ...")
        if len(embeddings) == 2:
            if labels is None:
                raise InputError("AnglELoss needs labels if the data has two columns")
            return super().loss_from_embeddings(embeddings, labels)
        anchor, negatives = embeddings[0], len(embeddings) - 2
        truth = anchor.new_ones(len(anchor)) if labels is None else row_labels(labels, len(anchor), "AnglELoss")
        both = [anchor.repeat(negatives + 1, 1), torch.cat(list(embeddings[1:]))]
        return super().loss_from_embeddings(both, torch.cat((truth, (1 - truth).repeat(negatives))))

    def similarities(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the similarity by angle of the two texts of each row, [rows]."""
        return angle(first, second)
