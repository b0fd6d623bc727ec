"""MarginMSE by late interaction."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.base import check_columns
from pipelines.training.losses.margin_mse import margins
from pipelines.training.losses.multi_vector.base import MultiVectorLoss, Score
from pipelines.training.losses.multi_vector.scores import colbert_scores_pairwise, mean_colbert_scores_pairwise


class MultiVectorMarginMSELoss(MultiVectorLoss):
    """The mean of (s(q, positive) - s(q, negative) - teacher's margin)² over (query, positive, negative ...).

    Parameters
    ----------
    similarity_fct, mini_batch_size
        See `MultiVectorLoss`.
    """

    score_functions: ClassVar[dict[str, Score]] = {
        "maxsim": colbert_scores_pairwise,
        "meanmaxsim": mean_colbert_scores_pairwise,
    }

    def __init__(
        self, model: Any, *, similarity_fct: Score | str | None = None, mini_batch_size: int | None = None
    ) -> None:
        super().__init__(model, similarity_fct, mini_batch_size)

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over rows and negatives."""
        name = type(self).__name__
        query, *documents = check_columns(embeddings, 3, None, name, "query, positive, negative ...")
        if labels is None:
            raise InputError(f"{name} needs the teacher's scores: a column named label, labels, score or scores")
        scores = torch.stack([self.scores(query, column) for column in documents], dim=1)
        truth = margins(labels, len(documents) - 1, name).to(scores.dtype)
        return F.mse_loss(scores[:, :1] - scores[:, 1:], truth)
