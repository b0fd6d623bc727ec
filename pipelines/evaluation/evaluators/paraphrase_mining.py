"""Paraphrase mining: how well the most similar pairs of sentences match the known duplicates."""

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import listed, shown, whole_number
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.checks import texts_by_id
from pipelines.evaluation.evaluators.vectors import Encoding
from pipelines.measures.classification import best_f1
from pipelines.measures.formulas import average_precision
from pipelines.measures.labelled_lists import judge_lists
from pipelines.similar.paraphrases import similar_pairs


class ParaphraseMiningEvaluator(Evaluator):
    """Average precision of the most similar pairs, and the threshold of the best F1.

    Parameters
    ----------
    sentences_map
        {id: sentence}.
    duplicates_list, duplicates_dict
        Pairs of ids, or {id: {id: True}}, in either direction.
    add_transitive_closure
        Treat duplicates of duplicates as duplicates.
    max_pairs, top_k
        Number of pairs to evaluate, in all and for each sentence.
    query_chunk_size, corpus_chunk_size
        Accepted and unused: memory is always bounded.
    """

    def __init__(
        self,
        sentences_map: Mapping[str, str],
        duplicates_list: Iterable[tuple[str, str]] | None = None,
        duplicates_dict: Mapping[str, Mapping[str, bool]] | None = None,
        add_transitive_closure: bool = False,
        query_chunk_size: int = 5000,
        corpus_chunk_size: int = 100000,
        max_pairs: int = 500000,
        top_k: int = 100,
        show_progress_bar: bool = False,
        batch_size: int = 16,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        sentences = texts_by_id(sentences_map, "sentences_map")
        self.ids, self.sentences = list(sentences), list(sentences.values())
        number = {sentence_id: at for at, sentence_id in enumerate(self.ids)}
        duplicates = [] if duplicates_list is None else duplicates_list
        ordered = duplicates if isinstance(duplicates, Set) else listed(duplicates, "duplicates_list", "pairs of ids")
        given = list(ordered)
        for place, pair in enumerate(given):
            if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
                raise InputError(f"duplicates_list: number {place} (from 0) must be two ids, not {shown(pair)}")
        given += [
            (one, other)
            for one, marks in (duplicates_dict or {}).items()
            for other, is_duplicate in marks.items()
            if is_duplicate
        ]
        pairs = {(number[one], number[other]) for one, other in given if one in number and other in number}
        closed = _closed(pairs, len(self.ids)) if add_transitive_closure else pairs
        self.duplicates = {(min(pair), max(pair)) for pair in closed}
        self.max_pairs, self.top_k = whole_number(max_pairs, "max_pairs"), whole_number(top_k, "top_k")
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.csv_file = self.file_name("paraphrase_mining_evaluation")

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        scores, first, second = similar_pairs(
            self.encoding(model, self.sentences), top_k=self.top_k, max_pairs=self.max_pairs
        )
        size = len(self.ids)
        known = np.array(sorted(one * size + other for one, other in self.duplicates), dtype=np.int64)
        metrics = _measure(scores, np.isin(first * size + second, known), len(known))
        row = {name: metrics[name] for name in ("precision", "recall", "f1", "threshold", "average_precision")}
        return Result(metrics, "average_precision", row)


def _measure(scores: NDArray[np.float32], correct: NDArray[np.bool_], total: int) -> dict[str, float]:
    found = correct.astype(np.int64)
    f1, precision, recall, threshold = best_f1(scores.astype(np.float64), found, higher=True, positives=total)
    judged = judge_lists([found], [scores], [total - int(found.sum())])
    return {
        "average_precision": float(average_precision(judged, ties="shared")[0]),
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "threshold": threshold,
    }


def _closed(pairs: set[tuple[int, int]], count: int) -> set[tuple[int, int]]:
    """Return all pairs within the groups that these pairs connect."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return set()
    one, other = np.array(sorted(pairs)).T
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(row)
    return {pair for group in groups.values() for pair in combinations(group, 2)}
