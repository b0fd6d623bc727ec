"""NanoBEIR for encoders, cross-encoders and pipelines: each set, and the mean over all sets."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from indexing.errors import InputError
from indexing.progress import progress
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result, check_cutoffs
from pipelines.evaluation.evaluators.cross_encoder import CrossEncoderRerankingEvaluator
from pipelines.evaluation.evaluators.information_retrieval import InformationRetrievalEvaluator, sparsity_of
from pipelines.evaluation.evaluators.shared import encoded
from pipelines.evaluation.evaluators.vectors import Encoding, is_sparse, similarity_of
from pipelines.evaluation.nanobeir import NAMES, NANOBEIR, NanoSet, load_nanobeir, split_name
from retrieve.encoders.similarity import Vectors


class NanoBEIREvaluator(Evaluator):
    """Evaluator of information retrieval on NanoBEIR's sets.

    Parameters
    ----------
    dataset_names
        Names among `NAMES` (all thirteen).
    dataset_id, data_dir
        See `load_nanobeir`; sets are loaded at the first call.
    aggregate_fn, aggregate_key
        Function that combines the metrics of the sets, and its name (the mean).
    query_prompts, corpus_prompts
        One prompt for all sets, or {set: prompt}.
    truncate_dim, max_active_dims
        Limits of the vectors; also a part of the names.
    mrr_at_k, ndcg_at_k, accuracy_at_k, precision_recall_at_k, map_at_k, score_functions, main_score_function,
    write_predictions
        See `InformationRetrievalEvaluator`.

    Notes
    -----
    The texts of all sets are encoded together. Instead of an encoder, give a function that returns a retriever or a
    `SearchPipeline` for each `NanoSet`.
    """

    information_retrieval_class: ClassVar[type[InformationRetrievalEvaluator]] = InformationRetrievalEvaluator

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str = NANOBEIR,
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        show_progress_bar: bool = False,
        batch_size: int = 32,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        main_score_function: str | None = None,
        aggregate_fn: Callable[[Sequence[float]], float] = np.mean,
        aggregate_key: str = "mean",
        query_prompts: str | Mapping[str, str] | None = None,
        corpus_prompts: str | Mapping[str, str] | None = None,
        write_predictions: bool = False,
        *,
        max_active_dims: int | None = None,
        data_dir: str | Path | None = None,
    ) -> None:
        check_cutoffs(
            mrr_at_k=mrr_at_k,
            ndcg_at_k=ndcg_at_k,
            accuracy_at_k=accuracy_at_k,
            precision_recall_at_k=precision_recall_at_k,
            map_at_k=map_at_k,
        )
        self.dataset_names = checked_names(NAMES if dataset_names is None else dataset_names)
        self._suffix = "".join(f"_{limit}" for limit in (truncate_dim, max_active_dims) if limit is not None)
        super().__init__(f"NanoBEIR_{aggregate_key}{self._suffix}", write_csv=write_csv)
        self.dataset_id, self.data_dir, self.aggregate_fn = dataset_id, data_dir, aggregate_fn
        self.query_prompts = _prompts(query_prompts, self.dataset_names, "query_prompts")
        self.corpus_prompts = _prompts(corpus_prompts, self.dataset_names, "corpus_prompts")
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self._options: dict[str, Any] = {
            "mrr_at_k": mrr_at_k,
            "ndcg_at_k": ndcg_at_k,
            "accuracy_at_k": accuracy_at_k,
            "precision_recall_at_k": precision_recall_at_k,
            "map_at_k": map_at_k,
            "write_csv": write_csv,
            "score_functions": score_functions,
            "main_score_function": main_score_function,
            "write_predictions": write_predictions,
        }
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}_results.csv"

    @cached_property
    def sets(self) -> list[NanoSet]:
        """The sets, loaded."""
        quiet = not self.encoding.show_progress_bar
        names = progress(self.dataset_names, desc="loading NanoBEIR", leave=False, disable=quiet)
        return [load_nanobeir(name, self.dataset_id, data_dir=self.data_dir) for name in names]

    @cached_property
    def evaluators(self) -> list[InformationRetrievalEvaluator]:
        """One evaluator for each set."""
        return [
            self.information_retrieval_class(
                one.queries,
                one.corpus,
                one.relevant_docs,
                name=f"Nano{one.name}{self._suffix}",
                query_prompt=None if self.query_prompts is None else self.query_prompts[name],
                corpus_prompt=None if self.corpus_prompts is None else self.corpus_prompts[name],
                **self._options,
            )
            for name, one in zip(self.dataset_names, self.sets, strict=True)
        ]

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder, or the retrievers that a function returns for each set."""
        results: list[dict[str, float]] = []
        counts: list[tuple[Any, Any]] = []
        if hasattr(model, "encode_query"):
            queries, corpora = self.vectors(model)
            for one, asked, searched in zip(self.evaluators, queries, corpora, strict=True):
                results.append(
                    one(model, call.folder, call.epoch, call.steps, query_embeddings=asked, corpus_embeddings=searched)
                )
                counts.append((asked, searched))
            named = sorted(self._options["score_functions"] or [similarity_of(model)])
        else:
            for one, nano in zip(self.evaluators, self.sets, strict=True):
                results.append(one(model(nano), call.folder, call.epoch, call.steps))
            named = sorted({key.removeprefix(f"{self.evaluators[0].name}_").rpartition("_")[0] for key in results[0]})
        metrics = _over_sets(self.evaluators, results, self.aggregate_fn)
        statistics: dict[str, float] = {}
        if counts and is_sparse(model):
            statistics = sparsity_of(*zip(*counts, strict=True))
            metrics |= statistics
        columns: dict[str, float] = {}
        for name in named:
            own = {key.removeprefix(f"{name}_"): value for key, value in metrics.items()}
            columns |= self.evaluators[0].columns(name, own)
        primary = self.evaluators[0].primary(metrics, named)
        return Result(metrics, primary, columns | statistics, _together(results))

    def vectors(self, model: Any) -> tuple[list[Any], list[Any]]:
        """Return the vectors of the queries and of the corpus of each set."""
        queries = [(one.queries, one.query_prompts["prompt"]) for one in self.evaluators]
        corpora = [(one.corpus, one.corpus_prompts["prompt"]) for one in self.evaluators]
        return self._pooled(model, "query", queries), self._pooled(model, "document", corpora)

    def _pooled(self, model: Any, task: Any, sets: Sequence[tuple[Sequence[str], str | None]]) -> list[Vectors]:
        """Encode the texts of all sets, each with its prompt, in one call for each prompt."""
        texts, given = zip(*sets, strict=True)
        vectors: list[Any] = [None] * len(texts)
        for prompt in dict.fromkeys(given):
            chosen = [at for at, one in enumerate(given) if one == prompt]
            every = [text for at in chosen for text in texts[at]]
            together: Any = encoded(self.encoding, model, every, task, prompt=prompt)
            start = 0
            for at in chosen:
                vectors[at] = together[start : start + len(texts[at])]
                start += len(texts[at])
        return vectors


class CrossEncoderNanoBEIREvaluator(Evaluator):
    """Evaluator of reranking BM25's results on NanoBEIR's sets.

    Parameters
    ----------
    dataset_names
        Names among `NAMES` (all but ArguAna and Touché).
    rerank_k
        Number of BM25's documents to rerank.
    at_k, always_rerank_positives, prompt_name
        See `CrossEncoderRerankingEvaluator`: with `always_rerank_positives` the metrics are not end to end.
    dataset_id, data_dir, aggregate_fn, aggregate_key
        See `NanoBEIREvaluator`.
    """

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str = NANOBEIR,
        rerank_k: int = 100,
        at_k: int = 10,
        always_rerank_positives: bool = True,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        aggregate_fn: Callable[[Sequence[float]], float] = np.mean,
        aggregate_key: str = "mean",
        *,
        data_dir: str | Path | None = None,
    ) -> None:
        check_cutoffs(rerank_k=rerank_k, at_k=at_k)
        if dataset_names is None:
            dataset_names = [name for name in NAMES if name not in ("arguana", "touche2020")]
        self.dataset_names = checked_names(dataset_names)
        super().__init__(f"NanoBEIR_R{rerank_k}_{aggregate_key}", write_csv=write_csv)
        self.dataset_id, self.data_dir, self.rerank_k, self.at_k = dataset_id, data_dir, rerank_k, at_k
        self.aggregate_fn = aggregate_fn
        self._options: dict[str, Any] = {
            "at_k": at_k,
            "always_rerank_positives": always_rerank_positives,
            "prompt_name": prompt_name,
            "show_progress_bar": show_progress_bar,
            "write_csv": write_csv,
        }
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}_results.csv"

    @cached_property
    def evaluators(self) -> list[CrossEncoderRerankingEvaluator]:
        """One evaluator for each set; loads the sets."""
        found = []
        for name in self.dataset_names:
            one = load_nanobeir(name, self.dataset_id, data_dir=self.data_dir, first_stage=True)
            try:
                samples = [
                    {
                        "query": one.queries[query_id],
                        "positive": [one.corpus[doc_id] for doc_id in sorted(one.relevant_docs[query_id])],
                        "documents": [one.corpus[doc_id] for doc_id in ids[: self.rerank_k]],
                    }
                    for query_id, ids in (one.first_stage or {}).items()
                ]
            except KeyError as missing:
                raise InputError(
                    f"{self.dataset_id}, {one.name}: its qrels or its bm25 hits name {missing}, which has no text"
                ) from None
            found.append(
                CrossEncoderRerankingEvaluator(samples, name=f"Nano{one.name}_R{self.rerank_k}", **self._options)
            )
        return found

    def score(self, model: Any, call: Call) -> Result:
        """Score a cross-encoder."""
        results = [one(model, call.folder, call.epoch, call.steps) for one in self.evaluators]
        metrics = _over_sets(self.evaluators, results, self.aggregate_fn)
        row = {name.upper(): metrics[name] for name in ("map", f"mrr@{self.at_k}", f"ndcg@{self.at_k}")}
        return Result(metrics, f"ndcg@{self.at_k}", row, _together(results))


def checked_names(names: Sequence[str] | Mapping[str, str]) -> list[str]:
    """Return the names as a list; raise InputError for an empty list or an unknown set."""
    if not names:
        raise InputError(f"name at least one set of NanoBEIR: {', '.join(NAMES)}")
    for name in names:
        split_name(name)
    return list(names)


def _prompts(given: str | Mapping[str, str] | None, names: Sequence[str], argument: str) -> Mapping[str, str] | None:
    if given is None:
        return None
    if isinstance(given, str):
        return dict.fromkeys(names, given)
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(f"{argument} has no prompt for {missing[0]!r}")
    return given


def _over_sets(
    evaluators: Sequence[Evaluator], results: Sequence[Mapping[str, float]], how: Callable[[Sequence[float]], float]
) -> dict[str, float]:
    """Combine the values of each metric over the sets."""
    by_metric: dict[str, list[float]] = {}
    for one, found in zip(evaluators, results, strict=True):
        for key, value in found.items():
            by_metric.setdefault(key.removeprefix(f"{one.name}_"), []).append(value)
    return {metric: float(how(values)) for metric, values in by_metric.items()}


def _together(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: value for found in results for key, value in found.items()}
