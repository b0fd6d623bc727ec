"""Evaluators of cross-encoders: classification, correlation with human scores, reranking."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result, check_cutoffs, warn_of_old_argument
from pipelines.evaluation.evaluators.checks import labels_of, same_length, scores_of, text_pairs
from pipelines.evaluation.evaluators.reranking import checked_samples, measures_of_orders, reranking_measures
from pipelines.measures.classification import f1_of_classes, threshold_measures

logger = logging.getLogger(__name__)


def scored(
    model: Any, pairs: Sequence[Any], *, prompt_name: str | None = None, show_progress: bool = False
) -> NDArray[np.float32]:
    """Score pairs of texts with a cross-encoder."""
    scores: NDArray[np.float32] = model.predict(
        [tuple(pair) for pair in pairs], prompt_name=prompt_name, show_progress=show_progress
    )
    return scores


def pairs_of(examples: Iterable[Any]) -> tuple[list[Sequence[str]], list[Any]]:
    """Return the texts and the labels of objects with ``texts`` and a ``label``."""
    listed = list(examples)
    return [example.texts for example in listed], [example.label for example in listed]


class CrossEncoderClassificationEvaluator(Evaluator):
    """Accuracy and F1 at their best thresholds and average precision; F1 over classes for a multi-class model.

    Parameters
    ----------
    sentence_pairs, labels
        Aligned lists; the labels are 0 and 1, or class numbers.
    ignored
        Arguments of older evaluators, such as ``threshold``; a warning names them.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        labels: Sequence[int],
        *,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
        **ignored: Any,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        if ignored:
            logger.warning("%s ignores the argument %s", type(self).__name__, ", ".join(ignored))
        self.pairs, self.labels = text_pairs(sentence_pairs, "sentence_pairs"), labels_of(labels, "labels")
        same_length(self.pairs, self.labels)
        self._options: dict[str, Any] = {"prompt_name": prompt_name, "show_progress": bool(show_progress_bar)}
        self.csv_file = self.file_name("CrossEncoderClassificationEvaluator")

    def score(self, model: Any, call: Call) -> Result:
        """Score a cross-encoder."""
        scores = scored(model, self.pairs, **self._options)
        if scores.ndim == 1:
            metrics = threshold_measures(scores, self.labels)
            titles = {name: name.title() for name in metrics}
            primary = "average_precision"
        else:
            metrics = f1_of_classes(self.labels, scores.argmax(axis=1))
            titles = {"f1_macro": "Macro_F1", "f1_micro": "Micro_F1", "f1_weighted": "Weighted_F1"}
            primary = "f1_macro"
        row = {titles[name]: value for name, value in metrics.items()}
        return Result(metrics, primary, row)


class CrossEncoderCorrelationEvaluator(Evaluator):
    """Pearson and Spearman correlation of the model's scores with human scores."""

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        scores: Sequence[float],
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.pairs, self.scores = text_pairs(sentence_pairs, "sentence_pairs"), scores_of(scores, "scores")
        same_length(self.pairs, self.scores)
        self._options: dict[str, Any] = {"prompt_name": prompt_name, "show_progress": bool(show_progress_bar)}
        self.csv_file = self.file_name("CrossEncoderCorrelationEvaluator")

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> Self:
        """Create an evaluator from objects with two ``texts`` and a ``label``."""
        return cls(*pairs_of(examples), **options)

    def score(self, model: Any, call: Call) -> Result:
        """Score a cross-encoder."""
        from scipy.stats import pearsonr, spearmanr

        found = scored(model, self.pairs, **self._options)
        pearson, spearman = float(pearsonr(self.scores, found)[0]), float(spearmanr(self.scores, found)[0])
        row = {"Pearson_Correlation": pearson, "Spearman_Correlation": spearman}
        return Result({"pearson": pearson, "spearman": spearman}, "spearman", row)


class CrossEncoderRerankingEvaluator(Evaluator):
    """MAP, MRR and nDCG of reranked samples, and of the first stage's order.

    Parameters
    ----------
    samples
        {query, positive: texts, and either negative: texts or documents: texts in the first stage's order}. With
        ``documents`` the first stage's own measures are reported as ``base_…``; they are 0 where it found no positive.
    at_k
        Cutoff of MRR and nDCG; `mrr_at_k` is its old name.
    always_rerank_positives
        Add positives that the first stage missed to the documents: the measures then describe the reranker alone, not
        both stages together. Without it a query whose positives were all missed counts 0.
    """

    def __init__(
        self,
        samples: Any,
        at_k: int = 10,
        always_rerank_positives: bool = True,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 64,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        mrr_at_k: int | None = None,
    ) -> None:
        if mrr_at_k is not None:
            warn_of_old_argument("mrr_at_k", "at_k")
            at_k = mrr_at_k
        check_cutoffs(at_k=at_k)
        super().__init__(name, write_csv=write_csv)
        self.samples = checked_samples(samples, ("positive",))
        for at, sample in enumerate(self.samples):
            if ("negative" in sample) == ("documents" in sample):
                raise InputError(f"sample number {at} (from 0) must have either 'negative' or 'documents'")
        self.at_k, self.always_rerank_positives = at_k, always_rerank_positives
        self._options: dict[str, Any] = {"prompt_name": prompt_name, "show_progress": show_progress_bar}
        self.csv_file = self.file_name("CrossEncoderRerankingEvaluator", f"_@{at_k}")

    def score(self, model: Any, call: Call) -> Result:
        """Score a cross-encoder; all pairs are predicted in one call."""
        lists = [self._candidates(sample) for sample in self.samples]
        both = zip(self.samples, lists, strict=True)
        pairs = [(sample["query"], text) for sample, (texts, _) in both for text in texts]
        scores = scored(model, pairs, **self._options) if pairs else np.zeros(0, np.float32)
        relevance = [relevant for _, relevant in lists]
        by_list = np.split(scores, np.cumsum([len(relevant) for relevant in relevance])[:-1])
        metrics = reranking_measures(relevance, by_list, self.at_k)
        row = {name.upper(): value for name, value in metrics.items()}
        base = [(sample["documents"], sample["positive"]) for sample in self.samples if sample.get("documents")]
        if base:
            metrics |= {f"base_{name}": value for name, value in measures_of_orders(base, self.at_k).items()}
        return Result(metrics, f"ndcg@{self.at_k}", row)

    def _candidates(self, sample: dict[str, Any]) -> tuple[list[str], list[int]]:
        right = list(sample["positive"])
        if not sample.get("documents"):
            wrong = list(sample.get("negative") or [])
            return [*right, *wrong], [1] * len(right) + [0] * len(wrong)
        known = set(right)
        if self.always_rerank_positives:
            others = [text for text in sample["documents"] if text not in known]
            return [*right, *others], [1] * len(right) + [0] * len(others)
        texts, relevant = list(sample["documents"]), [int(text in known) for text in sample["documents"]]
        return (texts, relevant) if any(relevant) else ([], [])
