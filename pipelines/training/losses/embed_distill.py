"""Distillation of embeddings: vectors close to a teacher's, also of another width.

References
----------
Kim et al., "EmbedDistill: A Geometric Knowledge Distillation for Information Retrieval", 2023.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss
from pipelines.training.losses.mse import teacher_vectors


class EmbedDistillLoss(EmbeddingLoss):
    """The distance of vectors from a teacher's vectors, the mean over the rows and columns.

    The labels are the teacher's vectors: one per row for all columns [rows, width], or one per column
    [rows, columns, width].

    Parameters
    ----------
    distance_metric
        "cosine" (1 - cosine), "l2" (Euclidean distance) or "mse".
    projection_dim
        Width of the teacher's vectors, for a linear layer from the student's width to it. The layer is trained with the
        model and not saved with it: see `save_projection`.
    """

    def __init__(
        self,
        model: Any,
        distance_metric: Literal["mse", "l2", "cosine"] = "cosine",
        projection_dim: int | None = None,
    ) -> None:
        super().__init__(model)
        if distance_metric not in ("mse", "l2", "cosine"):
            raise InputError(f"distance_metric must be mse, l2 or cosine, not {distance_metric!r}")
        self.distance_metric, self.projection_dim = distance_metric, projection_dim
        self.projection: nn.Linear | None = None
        if projection_dim is not None:
            self.projection = nn.Linear(model.dimension, projection_dim, device=getattr(self.model, "device", None))

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the columns."""
        width = self.projection_dim or embeddings[0].shape[1]
        remedy = "" if self.projection_dim else "; for a teacher of another width set projection_dim"
        teachers = teacher_vectors(labels, len(embeddings), width, "EmbedDistillLoss", remedy)
        return torch.stack([self._distance(*pair) for pair in zip(embeddings, teachers, strict=True)]).mean()

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = student if self.projection is None else self.projection(student), teacher.to(student.dtype)
        if self.distance_metric == "mse":
            return F.mse_loss(student, teacher)
        if self.distance_metric == "l2":
            return torch.linalg.vector_norm(student - teacher, dim=-1).mean()
        return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()

    def save_projection(self, path: str | Path) -> None:
        """Write the projection as safetensors.

        Raises
        ------
        InputError
            Without a projection.
        """
        from safetensors.torch import save_file

        if self.projection is None:
            raise InputError("there is no projection to save: set projection_dim")
        save_file(self.projection.state_dict(), str(path))

    def load_projection(self, path: str | Path) -> None:
        """Read a projection that `save_projection` wrote.

        Raises
        ------
        InputError
            If it fits another student or teacher.
        """
        from safetensors.torch import load_file

        weights = load_file(str(path))
        shape = tuple(weights["weight"].shape)
        if self.projection is None or tuple(self.projection.weight.shape) != shape:
            own = "none" if self.projection is None else str(tuple(self.projection.weight.shape))
            raise InputError(f"{path}: a projection of shape {shape} does not fit this loss, which has {own}")
        self.projection.load_state_dict(weights)
