"""Reranking by similarity: how high an encoder ranks the relevant ones of given documents."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from indexing.errors import InputError
from indexing.inputs import text, texts
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result, check_cutoffs, warn_of_old_argument
from pipelines.evaluation.evaluators.checks import rows_of
from pipelines.evaluation.evaluators.vectors import Encoding, sparsity_by_name
from pipelines.measures.formulas import average_precision, ndcg, reciprocal_rank
from pipelines.measures.labelled_lists import judge_lists
from retrieve.encoders.similarity import cosines


def reranking_measures(
    relevance: Sequence[Sequence[int]], scores: Sequence[NDArray[np.floating]], at_k: int
) -> dict[str, float]:
    """Return the means of AP, reciprocal rank and nDCG over lists of candidates; 0 without a list.

    AP and nDCG share ties, as scikit-learn does; reciprocal rank takes equal scores in the order of the list.
    """
    judged = judge_lists(relevance, scores)
    values = {
        "map": average_precision(judged, ties="shared"),
        f"mrr@{at_k}": reciprocal_rank(judged, at_k),
        f"ndcg@{at_k}": ndcg(judged, at_k, ties="shared"),
    }
    return {name: float(value.mean()) if len(relevance) else 0.0 for name, value in values.items()}


def measures_of_orders(orders: Iterable[tuple[Sequence[str], Sequence[str]]], at_k: int) -> dict[str, float]:
    """Return `reranking_measures` of (documents in their order, positives) pairs.

    Missing positives are appended to the documents; where no positive is among them, all measures are 0.
    """
    relevance = []
    for documents, positives in orders:
        found = [int(text in positives) for text in documents]
        relevance.append(found + [1] * (len(positives) - sum(found)) if any(found) else [])
    return reranking_measures(relevance, [-np.arange(len(found), dtype=np.float64) for found in relevance], at_k)


def checked_samples(samples: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return samples as a list of dictionaries with lists of texts; raise InputError for one that lacks a key."""
    found = []
    for at, sample in enumerate(rows_of(samples, "samples")):
        missing = [name for name in ("query", *names) if name not in sample]
        if missing:
            raise InputError(f"sample number {at} (from 0) has no {missing[0]!r}: it has {', '.join(sample)}")
        checked = dict(sample)
        for name in ("positive", "negative", "documents"):
            if name in checked:
                given = [checked[name]] if isinstance(checked[name], str) else checked[name]
                checked[name] = texts(given, f"sample number {at} (from 0), {name}")
        checked["query"] = text(sample["query"], f"sample number {at} (from 0), query")
        found.append(checked)
    return found


class RerankingEvaluator(Evaluator):
    """MAP, MRR and nDCG of {query, positive, negative} samples, by the similarity of vectors.

    Parameters
    ----------
    samples
        ``positive`` and ``negative`` are a text or a list of texts; samples without either are left out.
    at_k
        Cutoff of MRR and nDCG; `mrr_at_k` is its old name.
    similarity_fct
        Function of query and document vectors (cosine similarity).
    use_batched_encoding
        Accepted and unused: all texts are encoded together.
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
        check_cutoffs(at_k=at_k)
        super().__init__(name, write_csv=write_csv)
        checked = checked_samples(samples, ("positive", "negative"))
        self.samples = [sample for sample in checked if len(sample["positive"]) and len(sample["negative"])]
        if not self.samples:
            raise InputError("no sample has both a positive and a negative document")
        self.at_k, self.similarity_fct = at_k, similarity_fct
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.csv_file = self.file_name("RerankingEvaluator", f"_@{at_k}")

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        documents = [text for sample in self.samples for text in (*sample["positive"], *sample["negative"])]
        queries = self.encoding(model, [sample["query"] for sample in self.samples], "query")
        vectors = self.encoding(model, documents, "document")
        relevance = [[1] * len(sample["positive"]) + [0] * len(sample["negative"]) for sample in self.samples]
        bounds = np.cumsum([0, *map(len, relevance)])
        scores = [
            self.scores_of(model, queries, row, vectors, slice(start, stop))
            for row, (start, stop) in enumerate(pairwise(bounds))
        ]
        metrics = reranking_measures(relevance, scores, self.at_k)
        csv_row = {name.upper(): value for name, value in metrics.items()}
        extra = sparsity_by_name(model, query=queries, corpus=vectors)
        return Result(metrics | extra, f"ndcg@{self.at_k}", csv_row | extra)

    def scores_of(self, model: Any, queries: Any, row: int, documents: Any, candidates: slice) -> NDArray[np.floating]:
        """Return the scores of a query's candidates."""
        query: Any = queries[row : row + 1]
        documents = documents[candidates]
        if self.similarity_fct is None:
            return cosines(query, documents)[0]
        import torch

        is_sparse = issparse(query)
        both = [torch.from_numpy(side.toarray() if is_sparse else np.asarray(side)) for side in (query, documents)]
        return np.asarray(self.similarity_fct(*both)).reshape(-1)
