"""Binary classification: how well a similarity threshold separates duplicates from other pairs."""

from collections.abc import Sequence
from typing import Any

from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Result
from pipelines.evaluation.evaluators.checks import labels_of, same_length
from pipelines.evaluation.evaluators.pairs import PairEvaluator
from pipelines.evaluation.evaluators.vectors import Encoding, mean_sparsity
from pipelines.measures.classification import matthews, threshold_measures
from retrieve.encoders.similarity import Similarity, Vectors, row_by_row


class BinaryClassificationEvaluator(PairEvaluator):
    """Evaluator of how well a similarity threshold separates pairs of label 1 from pairs of label 0.

    It reports accuracy and F1 at their best thresholds, precision and recall at that of F1, average precision, and the
    Matthews correlation.
    """

    def __init__(
        self,
        sentences1: Sequence[str],
        sentences2: Sequence[str],
        labels: Sequence[int],
        name: str = "",
        batch_size: int = 32,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        super().__init__(sentences1, sentences2, encoding, similarity_fn_names or [], None, name, write_csv)
        self.labels = labels_of(labels, "labels")
        same_length(self.first, self.labels)
        wrong = next((at for at, label in enumerate(self.labels.tolist()) if label not in (0, 1)), None)
        if wrong is not None:
            raise InputError(f"label number {wrong} (from 0) is {self.labels[wrong]}; labels must be 0 or 1")
        self.csv_file = self.file_name("binary_classification_evaluation")

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        texts = list(dict.fromkeys([*self.first, *self.second]))
        number = {text: at for at, text in enumerate(texts)}
        vectors: Any = self.encoding(model, texts)
        first, second = (vectors[[number[text] for text in side]] for side in (self.first, self.second))
        found = {kind: self._measure(kind, first, second) for kind in self.named(model)}
        metrics = {f"{kind}_{name}": value for kind, values in found.items() for name, value in values.items()}
        columns = ("accuracy", "accuracy_threshold", "f1", "precision", "recall", "f1_threshold", "ap", "mcc")
        row = {f"{kind}_{name}": values[name] for kind, values in found.items() for name in columns}
        primary = f"{next(iter(found))}_ap"
        if len(found) > 1:
            names = next(iter(found.values()))
            metrics |= {f"max_{name}": max(values[name] for values in found.values()) for name in names}
            primary = "max_ap"
        extra = mean_sparsity(model, vectors)
        return Result(metrics | extra, primary, row | extra)

    def _measure(self, kind: Similarity, first: Vectors, second: Vectors) -> dict[str, float]:
        higher = kind in ("cosine", "dot")
        scores = row_by_row(kind, first, second) * (1 if higher else -1)
        values = threshold_measures(scores, self.labels, higher=higher)
        threshold = values["f1_threshold"]
        values["ap"] = values.pop("average_precision")
        return values | {"mcc": matthews(self.labels, scores >= threshold if higher else scores <= threshold)}
