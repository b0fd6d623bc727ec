"""Distillation by KL divergence: the student learns a teacher's distribution over a query's candidates."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.measures.distillation import checked_temperatures
from pipelines.training.losses.base import EmbeddingLoss, check_columns
from pipelines.training.losses.similarity import Metric, check_metric, row_by_row


def distill_kl_div(
    scores: Tensor, teacher: Tensor, *, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Return T² * KL(softmax(teacher / T_teacher) || softmax(scores / T)), the mean over the rows.

    Parameters
    ----------
    scores, teacher
        [queries, candidates].
    """
    student = torch.log_softmax(scores / student_temperature, dim=1)
    truth = torch.softmax(teacher.detach() / teacher_temperature, dim=1)
    return F.kl_div(student, truth, reduction="batchmean") * student_temperature**2


def teacher_scores(labels: Any, shape: tuple[int, int], name: str) -> Tensor:
    """Return a teacher's scores; raise InputError if they are not [queries, candidates]."""
    if labels is None or tuple(labels.shape) != shape:
        given = "none" if labels is None else f"labels of shape {tuple(labels.shape)}"
        raise InputError(f"{name} needs teacher scores of shape {shape}, one per candidate; the data has {given}")
    scores: Tensor = labels
    return scores


class DistillKLDivLoss(EmbeddingLoss):
    """`distill_kl_div` of (query, candidate, candidate ...) with the teacher's scores of the candidates.

    References
    ----------
    Lin, Yang and Lin, "Distilling Dense Representations for Ranking using Tightly-Coupled Teachers", 2020.
    """

    def __init__(
        self,
        model: Any,
        similarity: Metric = "dot",
        temperature: float = 1.0,
        *,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__(model)
        check_metric(similarity)
        self.similarity, self.temperature = similarity, temperature
        self.student_temperature, self.teacher_temperature = checked_temperatures(
            temperature, student_temperature, teacher_temperature
        )

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows."""
        name = type(self).__name__
        query, *candidates = check_columns(embeddings, 3, None, name, "query, candidate, candidate ...")
        return distill_kl_div(
            torch.stack([row_by_row(self.similarity, query, column) for column in candidates], dim=1),
            teacher_scores(labels, (len(query), len(candidates)), name).to(query.dtype),
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
        )
