"""Reciprocal rank fusion of two answers that are given as lists of texts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.disk import write_atomically
from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.cross_encoder import of_order
from pipelines.evaluation.evaluators.pairs import same_length
from pipelines.evaluation.evaluators.ranked import means


class ReciprocalRankFusionEvaluator(Evaluator):
    """MAP, MRR and nDCG of a dense answer, a sparse one, and both fused; called without a model.

    Parameters
    ----------
    dense_samples, sparse_samples
        {query_id, query, positive, documents: texts, best first}, the same queries in the same order.
    rrf_k
        A document counts 1 / (rrf_k + rank), ranks from 1, in each list that has it.
    write_predictions
        Write the fused lists as JSON lines as well.
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
        same_length(dense_samples, sparse_samples)
        for at, (dense, sparse) in enumerate(zip(dense_samples, sparse_samples, strict=True)):
            if dense.get("query_id") is None or dense.get("query_id") != sparse.get("query_id"):
                raise InputError(
                    f"sample number {at} (from 0) has the query_id {dense.get('query_id')!r} on one side and "
                    f"{sparse.get('query_id')!r} on the other"
                )
        self.dense, self.sparse, self.at_k, self.rrf_k = list(dense_samples), list(sparse_samples), at_k, rrf_k
        self.write_predictions = write_predictions
        self.csv_file = self.file_name("ReciprocalRankFusion_evaluation")

    def __call__(  # type: ignore[override]
        self, output_path: str | Path | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Score the two answers and their fusion."""
        call = Call(None if output_path is None else Path(output_path), epoch, steps)
        return self.finished(self.score(None, call), call)

    def score(self, model: None, call: Call) -> Result:
        """Give the figures of the two answers and their fusion."""
        values: dict[str, list[Any]] = {"dense_": [], "sparse_": [], "": []}
        lines = []
        for dense, sparse in zip(self.dense, self.sparse, strict=True):
            positive = [dense["positive"]] if isinstance(dense["positive"], str) else list(dense["positive"])
            fused = self.fused(dense["documents"], sparse["documents"])
            for side, documents in zip(values, (dense["documents"], sparse["documents"], fused), strict=True):
                values[side].append(of_order(documents, positive, self.at_k))
            told = {"query_id": dense["query_id"], "query": dense["query"], "positive": positive, "documents": fused}
            lines.append(json.dumps(told) + "\n")
        names = {"map": "MAP", f"mrr@{self.at_k}": f"MRR@{self.at_k}", f"ndcg@{self.at_k}": f"NDCG@{self.at_k}"}
        metrics, row = dict[str, float](), dict[str, float]()
        for side, found in values.items():
            for (name, title), value in zip(names.items(), means(found), strict=True):
                metrics[f"{side}{name}"] = row[f"{(side or 'fusion_').title()}{title}"] = value
        if self.write_predictions and call.folder is not None:
            path = call.folder / self.csv_file.replace("_results.csv", "_predictions.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write("".join(lines).encode()))
        return Result(metrics, f"ndcg@{self.at_k}", row)

    def fused(self, first: Sequence[str], second: Sequence[str]) -> list[str]:
        """Fuse two lists; equal scores stand in the order in which they came."""
        scores: dict[str, float] = {}
        for documents in (first, second):
            # A text that stands twice in a list has its last rank.
            for text, rank in {text: rank for rank, text in enumerate(documents, start=1)}.items():
                scores[text] = scores.get(text, 0.0) + 1 / (self.rrf_k + rank)
        return sorted(scores, key=scores.__getitem__, reverse=True)
