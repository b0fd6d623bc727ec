"""Information retrieval: how well a model, a retriever or a whole pipeline finds the right documents of a corpus."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.search import best, ranks_of
from pipelines.evaluation.evaluators.shared import encoded
from pipelines.evaluation.evaluators.vectors import Encoding, Vectors, is_sparse, similarity_of, sparsity

Found: TypeAlias = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float32]]]
"""By similarity: the documents of each query in their order [queries, depth], -1 for none, and their scores."""


class InformationRetrievalEvaluator(Evaluator):
    """Accuracy, precision, recall, MRR, nDCG and MAP at cutoffs, with binary relevance.

    Parameters
    ----------
    queries, corpus
        {id: text}. Queries without a relevant document are left out.
    relevant_docs
        {query_id: ids of its relevant documents}.
    mrr_at_k, ndcg_at_k, accuracy_at_k, precision_recall_at_k, map_at_k
        Cutoffs.
    score_functions
        {name: function of query and document vectors that gives all scores}; the model's own similarity unless given.
    main_score_function
        Whose nDCG counts (the best).
    query_prompt, query_prompt_name, corpus_prompt, corpus_prompt_name
        Put before the texts, instead of what the model says for queries and documents.
    write_predictions
        Write the best documents of each query as JSON lines as well.
    truncate_dim, max_active_dims
        Keep so many dimensions of dense vectors, or terms of sparse ones.
    name, write_csv, show_progress_bar, batch_size
        See `Evaluator` and `Encoding`; `corpus_chunk_size` is taken and not needed: memory is bounded by itself.

    Notes
    -----
    Called with an encoder, or with anything that has ``search(queries, k) -> Hits`` over a corpus of the same ids: a
    retriever, a hybrid; or ``retrieve(queries, k) -> Hits``: a `SearchPipeline`. Equal scores stand by corpus id. A
    document that has the query's own id is a document like any other.
    """

    def __init__(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        relevant_docs: Mapping[str, Iterable[str]],
        corpus_chunk_size: int = 50000,
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        show_progress_bar: bool = False,
        batch_size: int = 32,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        main_score_function: str | None = None,
        query_prompt: str | None = None,
        query_prompt_name: str | None = None,
        corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None,
        write_predictions: bool = False,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.relevant_docs = {query_id: set(ids) for query_id, ids in relevant_docs.items()}
        self.queries_ids = [query_id for query_id in queries if self.relevant_docs.get(query_id)]
        if not self.queries_ids:
            raise InputError("no query has a relevant document: queries and relevant_docs do not share an id")
        self.queries = [queries[query_id] for query_id in self.queries_ids]
        self.corpus_ids, self.corpus = list(corpus), list(corpus.values())
        self.cutoffs = {
            "accuracy": tuple(accuracy_at_k),
            "precision": tuple(precision_recall_at_k),
            "recall": tuple(precision_recall_at_k),
            "ndcg": tuple(ndcg_at_k),
            "mrr": tuple(mrr_at_k),
            "map": tuple(map_at_k),
        }
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.score_functions, self.main_score_function = score_functions, main_score_function
        self._query_prompts = {"prompt": query_prompt, "prompt_name": query_prompt_name}
        self._corpus_prompts = {"prompt": corpus_prompt, "prompt_name": corpus_prompt_name}
        self.write_predictions = write_predictions
        self.csv_file = self.file_name("Information-Retrieval_evaluation")

    def score(
        self,
        model: Any,
        call: Call,
        *,
        corpus_model: Any = None,
        corpus_embeddings: Vectors | None = None,
        query_embeddings: Vectors | None = None,
    ) -> Result:
        """Score an encoder, a retriever or a pipeline.

        Parameters
        ----------
        corpus_model
            Encodes the corpus instead of `model`.
        corpus_embeddings, query_embeddings
            Vectors that are there already, in the order of the ids.
        """
        if not hasattr(model, "encode_query"):
            return self._result(self._found_by(model), call, {})
        if query_embeddings is None:
            query_embeddings = encoded(self.encoding, model, self.queries, "query", **self._query_prompts)
        if corpus_embeddings is None:
            reader = corpus_model or model
            corpus_embeddings = encoded(self.encoding, reader, self.corpus, "document", **self._corpus_prompts)
        functions: dict[str, Any] = {**self.score_functions} if self.score_functions else {}
        functions = functions or {similarity_of(model): similarity_of(model)}
        found = {
            name: best(function, query_embeddings, corpus_embeddings, self._ranks, self._depth)
            for name, function in sorted(functions.items())
        }
        statistics = sparsity_of(query_embeddings, corpus_embeddings) if is_sparse(model) else {}
        return self._result(found, call, statistics)

    @property
    def _depth(self) -> int:
        return max(k for cutoffs in self.cutoffs.values() for k in cutoffs)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {doc_id: number for number, doc_id in enumerate(self.corpus_ids)}

    @cached_property
    def _ranks(self) -> NDArray[np.int64]:
        return ranks_of(self.corpus_ids)

    @cached_property
    def _relevant(self) -> NDArray[np.int64]:
        """A number for each query with a relevant document that the corpus has, ascending."""
        numbers, size = self._numbers, len(self.corpus_ids) + 1
        wanted = enumerate(self.relevant_docs[query_id] for query_id in self.queries_ids)
        return np.sort([row * size + numbers[i] for row, ids in wanted for i in ids if i in numbers]).astype(np.int64)

    def _found_by(self, model: Any) -> Found:
        find = getattr(model, "retrieve", None) or model.search
        hits: Hits = find(self.queries, self._depth)
        codes = np.array([self._numbers.get(str(doc_id), -1) for doc_id in hits.ids], dtype=np.int64)
        places = np.full((len(self.queries), self._depth), -1, dtype=np.int64)
        scores = np.full(places.shape, -np.inf, dtype=np.float32)
        columns = np.arange(len(hits.rows)) - hits.offsets[hits.rows]
        places[hits.rows, columns], scores[hits.rows, columns] = codes[hits.codes], hits.scores
        return {getattr(model, "name", "pipeline"): (places, scores)}

    def _result(self, found: Found, call: Call, statistics: Mapping[str, float]) -> Result:
        metrics, row = dict[str, float](), dict[str, float]()
        for name, (places, scores) in found.items():
            values = self.measure(places)
            metrics |= {f"{name}_{metric}": value for metric, value in values.items()}
            row |= self.columns(name, values)
            if self.write_predictions and call.folder is not None:
                self._write_predictions(call.folder, name, places, scores)
        metrics |= statistics
        largest = max(self.cutoffs["ndcg"])
        main = self.main_score_function or max(found, key=lambda name: metrics[f"{name}_ndcg@{largest}"])
        return Result(metrics, f"{main}_ndcg@{largest}", row | dict(statistics))

    def measure(self, places: NDArray[np.int64]) -> dict[str, float]:
        """Give the mean of each measure at each cutoff, from the documents [queries, depth] in their order."""
        counts = np.array([len(self.relevant_docs[query_id]) for query_id in self.queries_ids])
        keys = np.arange(len(places))[:, None] * (len(self.corpus_ids) + 1) + places
        hits = np.isin(keys, self._relevant) & (places >= 0)
        ranks = np.arange(1, hits.shape[1] + 1)
        found, discount = np.cumsum(hits, axis=1), 1 / np.log2(ranks + 1.0)
        gains = np.cumsum(hits * discount, axis=1)
        precisions = np.cumsum(hits * found / ranks, axis=1)
        first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)
        mean: dict[str, float] = {}
        for metric, cutoffs in self.cutoffs.items():
            for k in cutoffs:
                last, most = min(k, hits.shape[1]) - 1, np.minimum(counts, k)
                values: NDArray[Any]
                if metric == "accuracy":
                    values = found[:, last] > 0
                elif metric == "precision":
                    values = found[:, last] / k
                elif metric == "recall":
                    values = found[:, last] / counts
                elif metric == "ndcg":
                    ideal = np.cumsum(1 / np.log2(np.arange(2.0, most.max() + 2)))
                    values = gains[:, last] / ideal[most - 1]
                elif metric == "mrr":
                    values = np.where(first <= k, 1 / first, 0.0)
                else:
                    values = precisions[:, last] / most
                mean[f"{metric}@{k}"] = float(values.mean())
        return mean

    def columns(self, name: str, values: Mapping[str, float]) -> dict[str, float]:
        """Give the columns of the file, in sentence-transformers' order."""
        columns = [("Accuracy", "accuracy", k) for k in self.cutoffs["accuracy"]]
        for k in self.cutoffs["precision"]:
            columns += [("Precision", "precision", k), ("Recall", "recall", k)]
        for title, metric in (("MRR", "mrr"), ("NDCG", "ndcg"), ("MAP", "map")):
            columns += [(title, metric, k) for k in self.cutoffs[metric]]
        return {f"{name}-{title}@{k}": values[f"{metric}@{k}"] for title, metric, k in columns}

    def _write_predictions(
        self, folder: Path, name: str, places: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for query_id, query, found, values in zip(self.queries_ids, self.queries, places, scores, strict=True):
            results = [
                {"corpus_id": self.corpus_ids[place], "score": float(value)}
                for place, value in zip(found, values, strict=True)
                if place >= 0
            ]
            lines.append(json.dumps({"query_id": query_id, "query": query, "results": results}) + "\n")
        path = folder / self.csv_file.replace("_results.csv", f"_predictions_{name}.jsonl")
        write_atomically(path, lambda file: file.write("".join(lines).encode()))


def sparsity_of(queries: Vectors, corpus: Vectors) -> dict[str, float]:
    """Give the sparsity of both sides, and the multiplications that a query and a document are expected to share."""
    statistics = {f"query_{name}": value for name, value in sparsity(queries).items()}
    statistics |= {f"corpus_{name}": value for name, value in sparsity(corpus).items()}
    shares = [term_counts(side) / side.shape[0] for side in (queries, corpus)]
    return statistics | {"avg_flops": float(shares[0] @ shares[1])}


def term_counts(vectors: Vectors) -> NDArray[np.float64]:
    """Give how many texts have each term."""
    if issparse(vectors):
        present = vectors.indices if vectors.data.all() else vectors.indices[vectors.data != 0]
        return np.bincount(present, minlength=vectors.shape[1]).astype(np.float64)
    return np.count_nonzero(vectors, axis=0).astype(np.float64)
