"""Information retrieval: how well an encoder, a retriever or a pipeline finds the relevant documents of a corpus."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.hits import Hits, StringArray, string_array
from indexing.inputs import shown
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result, check_cutoffs
from pipelines.evaluation.evaluators.shared import encoded
from pipelines.evaluation.evaluators.vectors import Encoding, is_sparse, similarity_of
from pipelines.exact_search.nearest import best, ranks_of
from pipelines.measures import formulas
from pipelines.measures.qrels import Qrels
from retrieve.encoders.similarity import Vectors

_FORMULAS: Mapping[str, Callable[..., formulas.PerQuery]] = {
    "accuracy": formulas.success,
    "precision": formulas.precision,
    "recall": formulas.recall,
    "ndcg": formulas.ndcg,
    "mrr": formulas.reciprocal_rank,
    "map": partial(formulas.average_precision, within_cutoff=True),
}
_COLUMNS = (("Accuracy",), ("Precision", "Recall"), ("MRR",), ("NDCG",), ("MAP",))
"""Titles of the file's columns in sentence-transformers' order; those of one group alternate by cutoff."""


class InformationRetrievalEvaluator(Evaluator):
    """Accuracy, precision, recall, MRR, nDCG and MAP at cutoffs, with binary relevance.

    Parameters
    ----------
    queries, corpus
        {id: text}; queries without a relevant document are left out.
    relevant_docs
        {query_id: ids of the relevant documents}.
    mrr_at_k, ndcg_at_k, accuracy_at_k, precision_recall_at_k, map_at_k
        Cutoffs.
    score_functions
        {name: function of query and document vectors that returns all scores} (the model's own similarity).
    main_score_function
        Name of the function whose nDCG is the primary metric (the best one).
    query_prompt, query_prompt_name, corpus_prompt, corpus_prompt_name
        Prompts that replace the model's own for queries and documents.
    write_predictions
        Also write the best documents of each query as JSON lines.
    truncate_dim, max_active_dims
        Number of dimensions of dense vectors, or of terms of sparse vectors, to keep.
    name, write_csv, show_progress_bar, batch_size
        See `Evaluator` and `Encoding`. `corpus_chunk_size` is accepted and unused: memory is always bounded.

    Notes
    -----
    Call it with an encoder, with a retriever or hybrid (``search(queries, k) -> Hits``) or with a `SearchPipeline`
    (``retrieve(queries, k) -> Hits``) over a corpus of the same ids. Equal scores are ordered by corpus id. A document
    with the query's own id is treated like any other.
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
        check_cutoffs(
            mrr_at_k=mrr_at_k,
            ndcg_at_k=ndcg_at_k,
            accuracy_at_k=accuracy_at_k,
            precision_recall_at_k=precision_recall_at_k,
            map_at_k=map_at_k,
        )
        if not len(ndcg_at_k):
            raise InputError("ndcg_at_k is empty: the primary measure is nDCG at its largest cutoff")
        for argument, given in (("queries", queries), ("corpus", corpus), ("relevant_docs", relevant_docs)):
            if not isinstance(given, Mapping):
                what = "sets of document ids by query id" if given is relevant_docs else "texts by id"
                raise InputError(f"{argument} must be {what}, not {shown(given)}")
        for query_id, ids in relevant_docs.items():
            if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
                raise InputError(f"relevant_docs[{query_id!r}] must be a set of ids, not the single text {ids!r}")
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
        self.query_prompts = {"prompt": query_prompt, "prompt_name": query_prompt_name}
        self.corpus_prompts = {"prompt": corpus_prompt, "prompt_name": corpus_prompt_name}
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
            Encoder of the corpus (`model`).
        corpus_embeddings, query_embeddings
            Precomputed vectors, in the order of the ids.
        """
        if not hasattr(model, "encode_query"):
            return self._result({getattr(model, "name", "pipeline"): self._search_with(model)}, call, {})
        given = {"corpus_model": corpus_model, "corpus": corpus_embeddings, "queries": query_embeddings}
        answers, statistics = self.answers(model, **given)
        return self._result(answers, call, statistics)

    def answers(
        self, model: Any, *, corpus_model: Any, corpus: Any, queries: Any
    ) -> tuple[dict[str, Hits], dict[str, float]]:
        """Return the best documents of each query by the name of the score function, and statistics of the vectors."""
        if queries is None:
            queries = encoded(self.encoding, model, self.queries, "query", **self.query_prompts)
        if corpus is None:
            corpus = encoded(self.encoding, corpus_model or model, self.corpus, "document", **self.corpus_prompts)
        functions: dict[str, Any] = {**self.score_functions} if self.score_functions else {}
        functions = functions or {similarity_of(model): similarity_of(model)}
        answers = {
            name: self.as_hits(*best(function, queries, corpus, self.ranks, self.depth))
            for name, function in sorted(functions.items())
        }
        return answers, sparsity_of([queries], [corpus]) if is_sparse(model) else {}

    @property
    def depth(self) -> int:
        """Largest cutoff."""
        return max(k for cutoffs in self.cutoffs.values() for k in cutoffs)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """Rank of each document by its id, which orders equal scores."""
        return ranks_of(self.corpus_ids)

    @cached_property
    def _qrels(self) -> Qrels:
        return Qrels.from_dict(
            {query_id: dict.fromkeys(self.relevant_docs[query_id], 1) for query_id in self.queries_ids}
        )

    @cached_property
    def _table(self) -> StringArray:
        return string_array(self.corpus_ids)

    def as_hits(self, places: NDArray[np.int64], scores: NDArray[np.float32]) -> Hits:
        """Return places in the corpus and scores, both [queries, documents], as hits."""
        offsets = np.arange(len(places) + 1, dtype=np.int64) * places.shape[1]
        return Hits(offsets, places.ravel(), scores.ravel(), self._table)

    def _search_with(self, model: Any) -> Hits:
        search = getattr(model, "retrieve", None) or model.search
        hits: Hits = search(self.queries, self.depth)
        return hits

    def _result(self, answers: Mapping[str, Hits], call: Call, statistics: Mapping[str, float]) -> Result:
        metrics, row = dict[str, float](), dict[str, float]()
        for name, hits in answers.items():
            values = self.measure(hits)
            metrics |= {f"{name}_{metric}": value for metric, value in values.items()}
            row |= self.columns(name, values)
            if self.write_predictions and call.folder is not None:
                self._write_predictions(call.folder, name, hits)
        metrics |= statistics
        return Result(metrics, self.primary(metrics, answers), row | dict(statistics))

    def measure(self, hits: Hits) -> dict[str, float]:
        """Return the mean over queries of each measure at each cutoff."""
        judged = self._qrels.judge(hits, self.queries_ids)
        return {
            f"{metric}@{k}": float(_FORMULAS[metric](judged, k).mean())
            for metric, cutoffs in self.cutoffs.items()
            for k in cutoffs
        }

    def primary(self, metrics: Mapping[str, float], names: Iterable[str]) -> str:
        """Return the name of the primary metric: nDCG at the largest cutoff, of the main or the best function."""
        metric = f"ndcg@{max(self.cutoffs['ndcg'])}"
        return f"{self.main_score_function or max(names, key=lambda name: metrics[f'{name}_{metric}'])}_{metric}"

    def columns(self, name: str, values: Mapping[str, float]) -> dict[str, float]:
        """Return the columns of the CSV file, in sentence-transformers' order."""
        return {
            f"{name}-{title}@{k}": values[f"{title.lower()}@{k}"]
            for group in _COLUMNS
            for k in self.cutoffs[group[0].lower()]
            for title in group
        }

    def _write_predictions(self, folder: Path, name: str, hits: Hits) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for query_id, query, ranking in zip(self.queries_ids, self.queries, hits, strict=True):
            results = [
                {"corpus_id": doc_id, "score": float(score)}
                for doc_id, score in zip(ranking.doc_ids, ranking.scores, strict=True)
            ]
            lines.append(json.dumps({"query_id": query_id, "query": query, "results": results}) + "\n")
        path = folder / self.csv_file.replace("_results.csv", f"_predictions_{name}.jsonl")
        write_atomically(path, lambda file: file.write("".join(lines).encode()))


def sparsity_of(queries: Sequence[Vectors], corpora: Sequence[Vectors]) -> dict[str, float]:
    """Return the sparsity of queries and corpora, and the expected number of terms that a pair shares (FLOPS)."""
    statistics: dict[str, float] = {}
    shares = []
    for name, parts in (("query", queries), ("corpus", corpora)):
        rows = sum(part.shape[0] for part in parts)
        terms = sum(term_counts(part) for part in parts)
        active = float(np.sum(terms)) / max(1, rows)
        statistics |= {f"{name}_active_dims": active, f"{name}_sparsity_ratio": 1 - active / parts[0].shape[1]}
        shares.append(terms / max(1, rows))
    return statistics | {"avg_flops": float(shares[0] @ shares[1])}


def term_counts(vectors: Vectors) -> NDArray[np.float64]:
    """Return the number of texts that have each term, float64 [terms]."""
    if issparse(vectors):
        present = vectors.indices if vectors.data.all() else vectors.indices[vectors.data != 0]
        return np.bincount(present, minlength=vectors.shape[1]).astype(np.float64)
    return np.count_nonzero(vectors, axis=0).astype(np.float64)
