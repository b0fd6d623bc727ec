"""Embedding similarity: how well similarities of vectors agree with human scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.evaluation.evaluators.base import Call, Result
from pipelines.evaluation.evaluators.checks import same_length, scores_of
from pipelines.evaluation.evaluators.pairs import PairEvaluator
from pipelines.evaluation.evaluators.vectors import Encoding, mean_sparsity
from retrieve.encoders.similarity import row_by_row


class EmbeddingSimilarityEvaluator(PairEvaluator):
    """Pearson and Spearman correlation of a model's similarities with human scores.

    Parameters
    ----------
    sentences1, sentences2, scores
        Aligned lists.
    main_similarity, similarity_fn_names
        Similarity of the primary metric, and those to compute: "cosine", "dot", "euclidean" or "manhattan" (the
        model's own).
    precision
        Quantise the vectors first; see `DenseEncoder.encode`.
    truncate_dim, max_active_dims, name, show_progress_bar, batch_size, write_csv
        See `Encoding` and `Evaluator`.
    """

    def __init__(
        self,
        sentences1: Sequence[str],
        sentences2: Sequence[str],
        scores: Sequence[float],
        batch_size: int = 16,
        main_similarity: str | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        name: str = "",
        show_progress_bar: bool = False,
        write_csv: bool = True,
        precision: str | None = None,
        truncate_dim: int | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        super().__init__(sentences1, sentences2, encoding, similarity_fn_names or [], main_similarity, name, write_csv)
        self.scores, self.precision = scores_of(scores, "scores"), precision
        same_length(self.first, self.scores)
        suffix = "".join(f"_{part}" for part in (name, precision) if part)
        self.csv_file = f"similarity_evaluation{suffix}_results.csv"

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        from scipy.stats import pearsonr, spearmanr

        vectors = self._vectors(model)
        metrics: dict[str, float] = {}
        names = self.named(model)
        for kind in names:
            found = row_by_row(kind, *vectors)
            metrics[f"pearson_{kind}"] = float(pearsonr(self.scores, found)[0])
            metrics[f"spearman_{kind}"] = float(spearmanr(self.scores, found)[0])
        row = {f"{kind}_{one}": metrics[f"{one}_{kind}"] for kind in names for one in ("pearson", "spearman")}
        if len(names) > 1:
            for one in ("pearson", "spearman"):
                metrics[f"{one}_max"] = max(metrics[f"{one}_{kind}"] for kind in names)
        extra = mean_sparsity(model, *vectors)
        return Result(metrics | extra, f"spearman_{self.main_of(names)}", row | extra)

    def _vectors(self, model: Any) -> tuple[Any, Any]:
        if self.precision is None:
            return self.encoding(model, self.first), self.encoding(model, self.second)
        both: dict[str, Any] = {"precision": self.precision, "normalize": True}
        if self.precision in ("int8", "uint8"):
            # Ranges come from the vectors, so both sides are quantised together.
            together: Any = self.encoding(model, [*self.first, *self.second], **both)
            parts = [together[: len(self.first)], together[len(self.first) :]]
        else:
            parts = [self.encoding(model, side, **both) for side in (self.first, self.second)]
        if self.precision == "binary":
            parts = [part.astype(np.int16) + 128 for part in parts]
        if self.precision in ("binary", "ubinary"):
            parts = [np.unpackbits(part.astype(np.uint8), axis=1) for part in parts]
        return parts[0].astype(np.float32), parts[1].astype(np.float32)
