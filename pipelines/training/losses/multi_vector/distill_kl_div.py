"""Distillation by KL divergence, by late interaction."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from pipelines.measures.distillation import checked_temperatures
from pipelines.training.losses.base import check_columns
from pipelines.training.losses.distill_kl_div import distill_kl_div, teacher_scores
from pipelines.training.losses.multi_vector.base import MultiVectorLoss, Score, stacked
from pipelines.training.losses.multi_vector.scores import colbert_kd_scores, mean_colbert_kd_scores


class MultiVectorDistillKLDivLoss(MultiVectorLoss):
    """`distill_kl_div` of (query, candidate, candidate ...) with the teacher's scores of the candidates.

    Parameters
    ----------
    temperature, student_temperature, teacher_temperature
        Divisors of the scores; the first for both, unless one of the others is given. A quarter suits a teacher whose
        scores are between 0 and 1.
    similarity_fct, mini_batch_size
        See `MultiVectorLoss`.
    """

    score_functions: ClassVar[dict[str, Score]] = {"maxsim": colbert_kd_scores, "meanmaxsim": mean_colbert_kd_scores}

    def __init__(
        self,
        model: Any,
        *,
        similarity_fct: Score | str | None = None,
        temperature: float = 1.0,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, similarity_fct, mini_batch_size)
        self.temperature = temperature
        self.student_temperature, self.teacher_temperature = checked_temperatures(
            temperature, student_temperature, teacher_temperature
        )

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows."""
        name = type(self).__name__
        query, *candidates = check_columns(embeddings, 3, None, name, "query, candidate, candidate ...")
        scores = self.scores(query, stacked(candidates))
        return distill_kl_div(
            scores,
            teacher_scores(labels, (len(query), len(candidates)), name).to(scores.dtype),
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
        )
