"""Evaluators of multi-vector encoders, with sentence-transformers' arguments, keys and files.

Texts are scored by the model's own MaxSim or mean MaxSim. Functions of one's own get lists of tensors [tokens, dim].
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from indexing.errors import InputError
from indexing.hits import Hits
from indexing.inputs import listed, texts, whole_number
from indexing.max_sim import BLOCK_ELEMENTS, max_sim, max_sim_pairwise
from indexing.token_vectors import TokenVectors
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.checks import same_length
from pipelines.evaluation.evaluators.information_retrieval import InformationRetrievalEvaluator
from pipelines.evaluation.evaluators.nano_beir import NanoBEIREvaluator
from pipelines.evaluation.evaluators.reranking import RerankingEvaluator
from pipelines.evaluation.evaluators.triplet import TripletEvaluator
from pipelines.evaluation.evaluators.vectors import Encoding, similarity_of
from pipelines.measures.distillation import checked_temperatures, kl_divergence
from retrieve.encoders.compared import TOKEN_SIMILARITIES

logger = logging.getLogger(__name__)


class MultiVectorInformationRetrievalEvaluator(InformationRetrievalEvaluator):
    """See `InformationRetrievalEvaluator`; the scores are exact, of all documents.

    Parameters
    ----------
    corpus_chunk_size
        Documents whose token vectors are in memory at a time.
    chunk_elements
        Largest number of similarities held at a time.
    score_functions
        {name: function of queries and documents, lists of tensors, that returns all scores}; not with
        `chunk_elements`.
    """

    def __init__(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        relevant_docs: Mapping[str, Iterable[str]],
        *,
        corpus_chunk_size: int = 5000,
        chunk_elements: int | None = None,
        score_functions: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        **options: Any,
    ) -> None:
        no_truncation(options)
        super().__init__(queries, corpus, relevant_docs, score_functions=score_functions, **options)
        if score_functions is not None and chunk_elements is not None:
            raise InputError("chunk_elements bounds the model's own scores: it cannot be used with score_functions")
        for name, function in (score_functions or {}).items():
            target = function.func if isinstance(function, partial) else function
            if "xtr" in f"{getattr(target, '__name__', '')}{type(target).__name__}".lower():
                raise InputError(
                    f"score_functions[{name!r}] is XTR's score, which depends on all documents, and the corpus is "
                    "scored in chunks"
                )
        self.corpus_chunk_size = whole_number(corpus_chunk_size, "corpus_chunk_size")
        self.chunk_elements = chunk_elements

    def answers(
        self, model: Any, *, corpus_model: Any, corpus: Any, queries: Any
    ) -> tuple[dict[str, Hits], dict[str, float]]:
        """Return the best documents of each query by the name of the score function."""
        warn_of_replaced_prompts(model, self.query_prompts["prompt"], self.corpus_prompts["prompt"])
        if queries is None:
            queries = self.encoding(model, self.queries, "query", **self.query_prompts)
        own: dict[str, Any] = {similarity_of(model): None}
        functions: Mapping[str, Any] = self.score_functions or own
        found: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = {name: [] for name in functions}
        for start in range(0, max(1, len(self.corpus)), self.corpus_chunk_size):
            stop = min(start + self.corpus_chunk_size, len(self.corpus))
            documents: Any = (
                corpus.slice(start, stop)
                if corpus is not None
                else self.encoding(corpus_model or model, self.corpus[start:stop], "document", **self.corpus_prompts)
            )
            for name, function in functions.items():
                scores = (
                    self._scores(model, queries, documents)
                    if function is None
                    else called(function, queries.to_list(), documents.to_list()).reshape(queries.texts, -1)
                )
                found[name].append(self._first(np.tile(np.arange(start, stop), (len(scores), 1)), scores))
        answers = {}
        for name in sorted(functions):
            places, values = (np.concatenate(parts, axis=1) for parts in zip(*found[name], strict=True))
            answers[name] = self.as_hits(*self._first(places, values))
        return answers, {}

    def _scores(self, model: Any, queries: TokenVectors, documents: TokenVectors) -> NDArray[np.float32]:
        elements = self.chunk_elements or BLOCK_ELEMENTS
        return max_sim(queries, documents, mean=similarity_of(model) == "meanmaxsim", block_elements=elements)

    def _first(
        self, places: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the places and scores of the best documents of each query; equal scores by corpus id."""
        order = np.lexsort((self.ranks[places], -scores))[:, : self.depth]
        return np.take_along_axis(places, order, axis=1), np.take_along_axis(scores, order, axis=1)


class MultiVectorNanoBEIREvaluator(NanoBEIREvaluator):
    """See `NanoBEIREvaluator`; each set is encoded and scored in chunks.

    Parameters
    ----------
    corpus_chunk_size, chunk_elements
        See `MultiVectorInformationRetrievalEvaluator`.
    """

    information_retrieval_class = MultiVectorInformationRetrievalEvaluator

    def __init__(
        self, *args: Any, corpus_chunk_size: int = 5000, chunk_elements: int | None = None, **options: Any
    ) -> None:
        no_truncation(options)
        super().__init__(*args, **options)
        self._options |= {"corpus_chunk_size": corpus_chunk_size, "chunk_elements": chunk_elements}

    def vectors(self, model: Any) -> tuple[list[Any], list[Any]]:
        """Return none: token vectors of all sets would fill the memory, so each set is encoded on its own."""
        nothing = [None] * len(self.evaluators)
        return nothing, nothing


class MultiVectorRerankingEvaluator(RerankingEvaluator):
    """See `RerankingEvaluator`."""

    def __init__(
        self,
        samples: Any,
        *,
        at_k: int = 10,
        name: str = "",
        write_csv: bool = True,
        similarity_fct: Callable[[Any, Any], Any] | None = None,
        batch_size: int = 16,
        show_progress_bar: bool = False,
        use_batched_encoding: bool = True,
    ) -> None:
        super().__init__(
            samples,
            at_k=at_k,
            name=name,
            write_csv=write_csv,
            similarity_fct=similarity_fct,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            use_batched_encoding=use_batched_encoding,
        )

    def scores_of(
        self, model: Any, queries: TokenVectors, row: int, documents: TokenVectors, candidates: slice
    ) -> NDArray[np.floating]:
        """Return the scores of a query's candidates."""
        query, chosen = queries.slice(row, row + 1), documents.slice(candidates.start, candidates.stop)
        if self.similarity_fct is not None:
            return called(self.similarity_fct, query.to_list(), chosen.to_list()).reshape(-1)
        return max_sim(query, chosen, mean=similarity_of(model) == "meanmaxsim")[0]


class MultiVectorTripletEvaluator(TripletEvaluator):
    """See `TripletEvaluator`; the similarities are "maxsim" and "meanmaxsim"."""

    known_similarities = TOKEN_SIMILARITIES

    def __init__(self, *args: Any, **options: Any) -> None:
        no_truncation(options)
        super().__init__(*args, **options)

    def similarities_of(self, kind: Any, anchors: TokenVectors, others: TokenVectors) -> NDArray[np.floating]:
        """Return the similarity of each anchor to the other text of its row."""
        return max_sim_pairwise(anchors, others, mean=kind == "meanmaxsim")


class MultiVectorDistillationEvaluator(Evaluator):
    """KL divergence from a teacher's scores, and rank correlation with them.

    Parameters
    ----------
    queries
        Texts.
    documents
        One document for each query, or a list of candidates for each; all lists have the same length.
    scores
        The teacher's scores, in the shape of `documents`.
    temperature, student_temperature, teacher_temperature
        Divisors of the scores, as in `MultiVectorDistillKLDivLoss`.
    similarity_fct
        Function of queries and documents, lists of tensors, that returns the score of each pair (the model's own).

    Notes
    -----
    With candidates both figures are means over the queries; a query with equal scores has no rank correlation and is
    left out. With one document for each query, both are over all pairs together.
    """

    def __init__(
        self,
        queries: Sequence[str],
        documents: Sequence[str] | Sequence[Sequence[str]],
        scores: Any,
        *,
        temperature: float = 1.0,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
        similarity_fct: Callable[[Any, Any], Any] | None = None,
        name: str = "",
        batch_size: int = 16,
        show_progress_bar: bool = False,
        write_csv: bool = True,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.queries = texts(queries, "queries")
        documents = list(listed(documents, "documents", "texts, or lists of them"))
        same_length(self.queries, documents)
        same_length(self.queries, list(listed(scores, "scores", "numbers")))
        self.is_nested = not isinstance(documents[0], str)
        if self.is_nested:
            documents = [texts(row, f"documents[{place}]") for place, row in enumerate(documents)]
        self.ways = len(documents[0]) if self.is_nested else 1
        if self.is_nested and any(len(row) != self.ways for row in documents):
            raise InputError("all queries must have the same number of candidates")
        try:
            self.scores = np.asarray(scores, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError("scores must be numbers, as many for each query as it has documents") from error
        shape = (len(self.queries), self.ways) if self.is_nested else (len(self.queries),)
        if self.scores.shape != shape:
            raise InputError(f"scores must have the shape of the documents, {shape}, not {self.scores.shape}")
        self.documents: list[Any] = [text for row in documents for text in row] if self.is_nested else list(documents)
        self.student_temperature, self.teacher_temperature = checked_temperatures(
            temperature, student_temperature, teacher_temperature
        )
        self.similarity_fct = similarity_fct
        self.encoding = Encoding(batch_size, show_progress_bar)
        self.csv_file = f"distillation_evaluation{f'_{name}' if name else ''}_results.csv"

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        queries: Any = self.encoding(model, self.queries, "query")
        documents: Any = self.encoding(model, self.documents, "document")
        if self.similarity_fct is not None:
            columns = [
                called(self.similarity_fct, queries.to_list(), documents.to_list()[way :: self.ways])
                for way in range(self.ways)
            ]
            student = np.stack(columns, axis=1).reshape(self.scores.shape)
        else:
            rows = np.repeat(np.arange(len(self.queries)), self.ways)
            mean = similarity_of(model) == "meanmaxsim"
            student = max_sim_pairwise(queries.take(rows), documents, mean=mean).reshape(self.scores.shape)
        kl = kl_divergence(
            student,
            self.scores,
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
        )
        if self.is_nested:
            kl /= len(self.queries)
            pairs = [
                pair
                for pair in zip(self.scores, student, strict=True)
                if all(len(set(side.tolist())) > 1 for side in pair)
            ]
        else:
            pairs = [(self.scores, student)] if min(np.ptp(self.scores), np.ptp(student)) > 0 else []
        spearman = float(np.mean([spearmanr(*pair)[0] for pair in pairs])) if pairs else 0.0
        metrics = {"kl_divergence": kl, "spearman": spearman}
        return Result(metrics, "spearman", metrics)


def no_truncation(options: dict[str, Any]) -> None:
    """Raise InputError for `truncate_dim`: token vectors are not trained to be truncated."""
    if options.get("truncate_dim") is not None:
        raise InputError("truncate_dim does not apply to token vectors: leave it out")


def called(function: Callable[[Any, Any], Any], queries: list[Any], documents: list[Any]) -> NDArray[np.float32]:
    """Return the scores that a function computes of lists of tensors."""
    import torch

    queries, documents = (
        [torch.from_numpy(np.ascontiguousarray(one)) for one in side] for side in (queries, documents)
    )
    return np.asarray(torch.as_tensor(function(queries, documents)).float().numpy())


def warn_of_replaced_prompts(model: Any, query_prompt: str | None, corpus_prompt: str | None) -> None:
    """Warn of a prompt that replaces the marker with which a model was trained."""
    for name, prompt, task in (("query_prompt", query_prompt, "query"), ("corpus_prompt", corpus_prompt, "document")):
        own = model.resolve_prompt(None, task) if prompt is not None else ""
        if own and not str(prompt).startswith(own):
            logger.warning("%s replaces the model's own prompt %r: include it if the model needs it", name, own)
