"""Triplets: how often an anchor is more similar to its positive than to its negative."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.inputs import number
from pipelines.evaluation.evaluators.base import Call, Result, warn_of_old_argument
from pipelines.evaluation.evaluators.checks import aligned_texts
from pipelines.evaluation.evaluators.pairs import PairEvaluator
from pipelines.evaluation.evaluators.vectors import Encoding, sparsity_by_name
from retrieve.encoders.similarity import check_similarities, row_by_row


class TripletEvaluator(PairEvaluator):
    """Accuracy of triplets: the anchor must be more similar to its positive than to its negative, by a margin.

    Parameters
    ----------
    anchors, positives, negatives
        Aligned lists.
    margin
        For all similarities, or {similarity: margin} (0).
    main_similarity_function, similarity_fn_names
        See `EmbeddingSimilarityEvaluator`; `main_distance_function` is an old name of the former.
    """

    def __init__(
        self,
        anchors: Sequence[str],
        positives: Sequence[str],
        negatives: Sequence[str],
        main_similarity_function: str | None = None,
        margin: float | Mapping[str, float] | None = None,
        name: str = "",
        batch_size: int = 16,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        main_distance_function: str | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        if main_distance_function is not None:
            warn_of_old_argument("main_distance_function", "main_similarity_function")
        main, names = main_similarity_function or main_distance_function, ("anchors", "positives")
        super().__init__(anchors, positives, encoding, similarity_fn_names or [], main, name, write_csv, names)
        _, self.negatives = aligned_texts(anchors=self.first, negatives=negatives)
        margins = margin if isinstance(margin, Mapping) else dict.fromkeys(self.known_similarities, margin or 0.0)
        margins = {kind: number(value, "margin") for kind, value in margins.items()}
        check_similarities(list(margins), self.known_similarities)
        self.margins = {kind: margins.get(kind, 0.0) for kind in self.known_similarities}
        self.csv_file = self.file_name("triplet_evaluation")

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> Self:
        """Create an evaluator from objects whose ``texts`` are an anchor, a positive and a negative."""
        listed = list(examples)
        anchors, positives, negatives = ([one.texts[at] for one in listed] for at in range(3))
        return cls(anchors, positives, negatives, **options)

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        anchors = self.encoding(model, self.first, "query")
        positives = self.encoding(model, self.second, "document")
        negatives = self.encoding(model, self.negatives, "document")
        names = self.named(model)
        metrics = {}
        for kind in names:
            near, far = self.similarities_of(kind, anchors, positives), self.similarities_of(kind, anchors, negatives)
            metrics[f"{kind}_accuracy"] = float((near > far + self.margins[kind]).mean())
        row = {f"accuracy_{kind}": metrics[f"{kind}_accuracy"] for kind in names}
        if len(names) > 1:
            metrics["max_accuracy"] = max(metrics.values())
        extra = sparsity_by_name(model, anchor=anchors, positive=positives, negative=negatives)
        return Result(metrics | extra, f"{self.main_of(names)}_accuracy", row | extra)

    def similarities_of(self, kind: Any, anchors: Any, others: Any) -> NDArray[np.floating]:
        """Return the similarity of each anchor to the other text of its row."""
        return row_by_row(kind, anchors, others)
