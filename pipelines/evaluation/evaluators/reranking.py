"""Reranking by similarity: how high an encoder puts the right documents among given ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.deprecation import warn_of_old_argument
from pipelines.evaluation.evaluators.ranked import average_precision, means, ndcg, reciprocal_rank
from pipelines.evaluation.evaluators.vectors import Encoding, Vectors, all_pairs, is_sparse, sparsity


def measured(relevant: Sequence[int], scores: NDArray[np.floating], at_k: int) -> tuple[float, float, float]:
    """Give AP, reciprocal rank and nDCG of one list."""
    truth, scores = np.asarray(relevant), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    return (
        average_precision(truth == 1, scores),
        reciprocal_rank(truth == 1, order, at_k),
        ndcg(truth.astype(np.float64), scores, at_k),
    )


def checked_samples(samples: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Give samples as a list whose documents are lists; refuse one that lacks a key."""
    listed = list(samples.values()) if isinstance(samples, Mapping) else list(samples)
    found = []
    for at, sample in enumerate(listed):
        missing = [name for name in ("query", *names) if name not in sample]
        if missing:
            raise InputError(f"sample number {at} (from 0) has no {missing[0]!r}: it has {', '.join(sample)}")
        found.append(
            {name: [value] if name in names and isinstance(value, str) else value for name, value in sample.items()}
        )
    return found


class RerankingEvaluator(Evaluator):
    """MAP, MRR and nDCG of {query, positive, negative} samples, by the similarity of vectors.

    Parameters
    ----------
    samples
        ``positive`` and ``negative`` are a text or several; samples that lack either are left out.
    at_k
        Cutoff of MRR and nDCG; `mrr_at_k` is an old name of it.
    similarity_fct
        Of query and document vectors (cosine).
    use_batched_encoding
        Taken and not needed: all texts are encoded together.
    """

    def __init__(
        self,
        samples: Any,
        at_k: int = 10,
        name: str = "",
        write_csv: bool = True,
        similarity_fct: Callable[[Any, Any], Any] | None = None,
        batch_size: int = 64,
        show_progress_bar: bool = False,
        use_batched_encoding: bool = True,
        truncate_dim: int | None = None,
        mrr_at_k: int | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        if mrr_at_k is not None:
            warn_of_old_argument("mrr_at_k", "at_k")
            at_k = mrr_at_k
        super().__init__(name, write_csv=write_csv)
        checked = checked_samples(samples, ("positive", "negative"))
        self.samples = [sample for sample in checked if len(sample["positive"]) and len(sample["negative"])]
        if not self.samples:
            raise InputError("no sample has both a positive and a negative document")
        self.at_k, self._similarity = at_k, similarity_fct
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.csv_file = self.file_name("RerankingEvaluator", f"_@{at_k}")

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        documents = [text for sample in self.samples for text in (*sample["positive"], *sample["negative"])]
        queries = self.encoding(model, [sample["query"] for sample in self.samples], "query")
        vectors = self.encoding(model, documents, "document")
        values, start = [], 0
        for row, sample in enumerate(self.samples):
            right, wrong = len(sample["positive"]), len(sample["negative"])
            scores = self._scores(queries[row : row + 1], vectors[start : start + right + wrong])
            start += right + wrong
            values.append(measured([1] * right + [0] * wrong, scores, self.at_k))
        ap, mrr, gain = means(values)
        metrics = {"map": ap, f"mrr@{self.at_k}": mrr, f"ndcg@{self.at_k}": gain}
        row_of_file = {"MAP": ap, f"MRR@{self.at_k}": mrr, f"NDCG@{self.at_k}": gain}
        extra: dict[str, float] = {}
        if is_sparse(model):
            extra = {f"query_{name}": value for name, value in sparsity(queries).items()}
            extra |= {f"corpus_{name}": value for name, value in sparsity(vectors).items()}
        return Result(metrics | extra, f"ndcg@{self.at_k}", row_of_file | extra)

    def _scores(self, query: Vectors, documents: Vectors) -> NDArray[np.floating]:
        if self._similarity is None:
            return all_pairs("cosine", query, documents)[0]
        import torch

        both = [torch.from_numpy(side.toarray() if issparse(side) else np.asarray(side)) for side in (query, documents)]
        return np.asarray(self._similarity(*both)).reshape(-1)
