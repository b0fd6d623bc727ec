"""Mean squared error: a teacher's vector as the label of each text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.training.losses.base import EmbeddingLoss


def teacher_vectors(labels: Any, columns: int, width: int, name: str, remedy: str = "") -> list[Tensor]:
    """Return a teacher's vectors of each column, without gradients.

    Parameters
    ----------
    labels
        One vector per row for all columns [rows, width], or one per column [rows, columns, width].

    Raises
    ------
    InputError
        For labels of another shape.
    """
    if labels is None or labels.ndim not in (2, 3) or labels.shape[-1] != width:
        given = "none" if labels is None else f"labels of shape {tuple(labels.shape)}"
        raise InputError(f"{name} needs the teacher's vectors of width {width} as labels; the data has {given}{remedy}")
    if labels.ndim == 3 and labels.shape[1] != columns:
        raise InputError(f"{name} got vectors for {counted(labels.shape[1], 'column')}; the data has {columns}")
    return [labels.detach()] * columns if labels.ndim == 2 else list(labels.detach().unbind(dim=1))


class MSELoss(EmbeddingLoss):
    """The mean of (vector - teacher's vector)², over the columns.

    The labels are one vector per row for all columns [rows, width], or one per column [rows, columns, width].

    References
    ----------
    Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation", 2020.
    """

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the columns."""
        teachers = teacher_vectors(labels, len(embeddings), embeddings[0].shape[1], "MSELoss")
        return torch.stack(
            [
                F.mse_loss(student, teacher.to(student.dtype))
                for student, teacher in zip(embeddings, teachers, strict=True)
            ]
        ).mean()
