"""Mean squared error between a student's vectors and a teacher's."""

from collections.abc import Sequence
from typing import Any

from scipy.sparse import issparse

from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.pairs import same_length
from pipelines.evaluation.evaluators.vectors import Encoding, Vectors, mean_sparsity


class MSEEvaluator(Evaluator):
    """Mean squared error between a student's and a teacher's vectors, times -100.

    Parameters
    ----------
    source_sentences, target_sentences
        Aligned texts for the teacher and for the student.
    teacher_model
        Encodes the sources, at the first call.
    """

    def __init__(
        self,
        source_sentences: Sequence[str],
        target_sentences: Sequence[str],
        teacher_model: Any = None,
        show_progress_bar: bool = False,
        batch_size: int = 32,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        same_length(source_sentences, target_sentences)
        self.sources, self.targets, self.teacher = list(source_sentences), list(target_sentences), teacher_model
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.csv_file = f"mse_evaluation_{name}_results.csv"
        self._truth: Any = None

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        if self._truth is None:
            self._truth = self.encoding(self.teacher, self.sources)
        found: Any = self.encoding(model, self.targets)
        mse = 100 * mean_squared_error(found, self._truth)
        extra = mean_sparsity(model, found)
        return Result({"negative_mse": -mse} | extra, "negative_mse", {"MSE": mse} | extra)


def mean_squared_error(vectors: Vectors, truth: Vectors) -> float:
    """Return the mean of the squared differences over rows and dimensions."""
    difference: Any = vectors - truth
    squares = difference.multiply(difference) if issparse(vectors) else difference**2
    return float(squares.mean())
