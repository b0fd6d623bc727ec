"""Reciprocal rank fusion of two rankings that are given as lists of texts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.inputs import local_path
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result, check_cutoffs
from pipelines.evaluation.evaluators.checks import rows_of, same_length
from pipelines.evaluation.evaluators.reranking import measures_of_orders


class ReciprocalRankFusionEvaluator(Evaluator):
    """MAP, MRR and nDCG of a dense ranking, a sparse ranking, and both fused; called without a model.

    Parameters
    ----------
    dense_samples, sparse_samples
        {query_id, query, positive, documents: texts, best first}; the same queries in the same order.
    rrf_k
        A document scores 1 / (rrf_k + rank), ranks from 1, in each list that contains it.
    write_predictions
        Also write the fused lists as JSON lines.
    """

    def __init__(
        self,
        dense_samples: Sequence[Mapping[str, Any]],
        sparse_samples: Sequence[Mapping[str, Any]],
        at_k: int = 10,
        rrf_k: int = 60,
        name: str = "",
        batch_size: int = 32,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        write_predictions: bool = False,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        check_cutoffs(at_k=at_k, rrf_k=rrf_k)
        dense_samples = rows_of(dense_samples, "dense_samples")
        sparse_samples = rows_of(sparse_samples, "sparse_samples")
        same_length(dense_samples, sparse_samples)
        for at, (dense, sparse) in enumerate(zip(dense_samples, sparse_samples, strict=True)):
            if dense.get("query_id") is None or dense.get("query_id") != sparse.get("query_id"):
                raise InputError(
                    f"sample number {at} (from 0) has the query_id {dense.get('query_id')!r} on one side and "
                    f"{sparse.get('query_id')!r} on the other"
                )
        self.dense, self.sparse, self.at_k, self.rrf_k = dense_samples, sparse_samples, at_k, rrf_k
        self.write_predictions = write_predictions
        self.csv_file = self.file_name("ReciprocalRankFusion_evaluation")

    def __call__(  # type: ignore[override]
        self, output_path: str | Path | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Score both rankings and their fusion."""
        call = Call(None if output_path is None else local_path(output_path, "output_path"), epoch, steps)
        return self.finished(self.score(None, call), call)

    def score(self, model: None, call: Call) -> Result:
        """Return the measures of both rankings and their fusion."""
        orders: dict[str, list[Any]] = {"dense_": [], "sparse_": [], "": []}
        lines = []
        for dense, sparse in zip(self.dense, self.sparse, strict=True):
            positive = [dense["positive"]] if isinstance(dense["positive"], str) else list(dense["positive"])
            fused = self.fused(dense["documents"], sparse["documents"])
            for side, documents in zip(orders, (dense["documents"], sparse["documents"], fused), strict=True):
                orders[side].append((documents, positive))
            record = {"query_id": dense["query_id"], "query": dense["query"], "positive": positive, "documents": fused}
            lines.append(json.dumps(record) + "\n")
        metrics, row = dict[str, float](), dict[str, float]()
        for side, pairs in orders.items():
            for name, value in measures_of_orders(pairs, self.at_k).items():
                metrics[f"{side}{name}"] = row[f"{(side or 'fusion_').title()}{name.upper()}"] = value
        if self.write_predictions and call.folder is not None:
            path = call.folder / self.csv_file.replace("_results.csv", "_predictions.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write("".join(lines).encode()))
        return Result(metrics, f"ndcg@{self.at_k}", row)

    def fused(self, first: Sequence[str], second: Sequence[str]) -> list[str]:
        """Fuse two lists; equal scores are ordered by first appearance."""
        scores: dict[str, float] = {}
        for documents in (first, second):
            # A text that is repeated in a list has its last rank.
            for text, rank in {text: rank for rank, text in enumerate(documents, start=1)}.items():
                scores[text] = scores.get(text, 0.0) + 1 / (self.rrf_k + rank)
        return sorted(scores, key=scores.__getitem__, reverse=True)
