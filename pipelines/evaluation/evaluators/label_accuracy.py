"""Label accuracy: how often a classifier over embeddings predicts the right class."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.checks import aligned_texts, labels_of, same_length
from pipelines.evaluation.evaluators.vectors import Encoding

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader

Answers: TypeAlias = 'Iterator[tuple["Tensor", "Tensor"]]'
"""Batches of logits [rows, classes] and of classes [rows]."""


class LabelAccuracyEvaluator(Evaluator):
    """Fraction of rows whose true class has the largest logit.

    Parameters
    ----------
    dataloader
        A `torch.utils.data.DataLoader` of objects with ``texts``, one a column, and a ``label``.
    softmax_model
        A loss, called as ``softmax_model(features, labels=None)`` with the features of each column; it returns a pair
        whose second item is the logits [rows, classes]. Its attribute ``model``, the encoder in the form that losses
        train (`pipelines.training.model.trained`), tokenizes the texts.

    Notes
    -----
    The loader's own ``collate_fn`` is not used. `of_columns` takes lists of texts and a classifier of vectors instead.
    """

    def __init__(
        self,
        dataloader: "DataLoader[Any]",
        name: str = "",
        softmax_model: Callable[..., Any] | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        if softmax_model is None:
            raise InputError("softmax_model is missing: give the loss that returns the logits")
        self.dataloader, self.softmax_model = dataloader, softmax_model
        self.csv_file = self.file_name("accuracy_evaluation")

    @staticmethod
    def of_columns(
        columns: Sequence[Sequence[str]],
        labels: Sequence[int],
        classifier: "Callable[[list[Tensor]], Tensor]",
        *,
        name: str = "",
        batch_size: int = 32,
        write_csv: bool = True,
    ) -> "LabelAccuracyEvaluator":
        """Create an evaluator from lists.

        Parameters
        ----------
        columns
            The texts of each column, such as two for natural language inference.
        labels
            The class of each row.
        classifier
            Returns logits [rows, classes] for the vectors of each column.
        """
        return _ColumnAccuracy(columns, labels, classifier, name, batch_size, write_csv)

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        import torch

        correct, rows = 0, 0
        with torch.no_grad():
            for logits, labels in self.answers(model):
                correct += int((logits.argmax(dim=1).cpu() == labels.cpu()).sum())
                rows += len(labels)
        if not rows:
            raise InputError("cannot evaluate: the dataloader yielded no row")
        return Result({"accuracy": correct / rows}, "accuracy", {"accuracy": correct / rows})

    def answers(self, model: Any) -> Answers:
        """Yield the logits and the classes of each batch."""
        import torch

        reader = getattr(self.softmax_model, "model", model)
        self.dataloader.collate_fn = _identity
        for batch in self.dataloader:
            if not hasattr(reader, "column"):
                raise InputError(
                    "softmax_model has no trainable encoder as its attribute 'model': give a loss made with "
                    "pipelines.training.model.trained(encoder), or use LabelAccuracyEvaluator.of_columns"
                )
            rows = np.arange(len(batch))
            features = []
            for column in zip(*(example.texts for example in batch), strict=True):
                one = reader.column(reader.tokenize(column), rows, list(column), None)
                tensors = {key: value.to(reader.device) for key, value in one.items() if hasattr(value, "to")}
                features.append({**one, **tensors})
            labels = torch.as_tensor(np.asarray([example.label for example in batch]))
            yield self.softmax_model(features, labels=None)[1], labels


class _ColumnAccuracy(LabelAccuracyEvaluator):
    def __init__(
        self,
        columns: Sequence[Sequence[str]],
        labels: Sequence[int],
        classifier: "Callable[[list[Tensor]], Tensor]",
        name: str,
        batch_size: int,
        write_csv: bool,
    ) -> None:
        super().__init__((), name, classifier, write_csv)  # type: ignore[arg-type]
        if not columns:
            raise InputError("there is no column of texts")
        self.labels = labels_of(labels, "labels")
        self.columns = aligned_texts(**{f"columns[{place}]": column for place, column in enumerate(columns)})
        same_length(self.columns[0], self.labels)
        self.encoding = Encoding(batch_size)

    def answers(self, model: Any) -> Answers:
        import torch

        vectors = [torch.as_tensor(self.encoding(model, column)) for column in self.columns]
        yield self.softmax_model(vectors), torch.from_numpy(self.labels)


def _identity(batch: Any) -> Any:
    return batch
