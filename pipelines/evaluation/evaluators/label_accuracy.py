"""Label accuracy: how often a classifier over embeddings gives the right class."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.pairs import same_length
from pipelines.evaluation.evaluators.vectors import Encoding


class LabelAccuracyEvaluator(Evaluator):
    """The share of rows whose class has the largest logit.

    Parameters
    ----------
    columns
        The texts of each column that the classifier reads, such as two for natural language inference.
    labels
        The class of each row.
    softmax_model
        Gives logits [rows, classes] from the vectors of each column (torch tensors).
    """

    def __init__(
        self,
        columns: Sequence[Sequence[str]],
        labels: Sequence[int],
        softmax_model: Callable[[list[Any]], Any],
        name: str = "",
        batch_size: int = 32,
        write_csv: bool = True,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        if not columns:
            raise InputError("there is no column of texts")
        for column in columns:
            same_length(column, labels)
        self.columns, self.labels = [list(column) for column in columns], np.asarray(labels, dtype=np.int64)
        self.softmax_model, self.encoding = softmax_model, Encoding(batch_size)
        self.csv_file = self.file_name("accuracy_evaluation")

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        import torch

        vectors = [torch.as_tensor(self.encoding(model, column)) for column in self.columns]
        with torch.no_grad():
            logits = np.asarray(self.softmax_model(vectors))
        accuracy = float((logits.argmax(axis=1) == self.labels).mean())
        return Result({"accuracy": accuracy}, "accuracy", {"accuracy": accuracy})
