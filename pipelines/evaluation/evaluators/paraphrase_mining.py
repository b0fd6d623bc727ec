"""Paraphrase mining: how well the most similar pairs of a collection of sentences are its duplicates."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.search import best
from pipelines.evaluation.evaluators.vectors import Encoding, Vectors


class ParaphraseMiningEvaluator(Evaluator):
    """Average precision of the most similar pairs, and the threshold of the best F1.

    Parameters
    ----------
    sentences_map
        {id: sentence}.
    duplicates_list, duplicates_dict
        Pairs of ids, or {id: {id: True}}, in either direction.
    add_transitive_closure
        Duplicates of duplicates are duplicates.
    max_pairs, top_k
        How many pairs are looked at, and how many of one sentence.
    query_chunk_size, corpus_chunk_size
        Taken and not needed: memory is bounded by itself.
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
        self.ids, self.sentences = list(sentences_map), list(sentences_map.values())
        number = {sentence_id: at for at, sentence_id in enumerate(self.ids)}
        given = [*(duplicates_list or [])]
        given += [
            (one, other)
            for one, of_one in (duplicates_dict or {}).items()
            for other, is_one in of_one.items()
            if is_one
        ]
        pairs = {(number[one], number[other]) for one, other in given if one in number and other in number}
        groups = _groups(pairs, len(self.ids)) if add_transitive_closure else None
        self.duplicates = _closed(groups) if groups is not None else {(min(pair), max(pair)) for pair in pairs}
        self.max_pairs, self.top_k = max_pairs, top_k
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


def similar_pairs(
    vectors: Vectors, *, top_k: int, max_pairs: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Give the most similar pairs of rows by cosine, the best first: their scores, lower and higher row."""
    count = vectors.shape[0]
    places, scores = best("cosine", vectors, vectors, np.arange(count), min(top_k + 1, count))
    rows = np.arange(count)[:, None]
    other = places != rows
    # Of top_k + 1 the row itself goes; where it is not among them, the last.
    kept = other & (np.cumsum(other, axis=1) <= top_k)
    at, column = np.nonzero(kept)
    low, high = np.minimum(at, places[at, column]), np.maximum(at, places[at, column])
    _, different = np.unique(low * count + high, return_index=True)
    different = np.sort(different)
    values = scores[at, column][different]
    order = np.argsort(-values, kind="stable")[:max_pairs]
    return values[order], low[different][order], high[different][order]


def _measure(scores: NDArray[np.float32], right: NDArray[np.bool_], total: int) -> dict[str, float]:
    nothing = dict.fromkeys(("average_precision", "f1", "precision", "recall"), 0.0) | {"threshold": 0.0}
    if not len(scores) or not total:
        return nothing
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    found = np.cumsum(right)[ends]
    gained = np.diff(found, prepend=0)
    precision, recall = found / (ends + 1), found / total
    with np.errstate(invalid="ignore"):
        f1 = np.where(gained > 0, np.nan_to_num(2 * precision * recall / (precision + recall)), 0.0)
    at = int(f1.argmax())
    if f1[at] == 0:
        return nothing
    after = min(int(ends[at]) + 1, len(scores) - 1)
    return {
        "average_precision": float((precision * gained).sum() / total),
        "f1": float(f1[at]),
        "precision": float(precision[at]),
        "recall": float(recall[at]),
        "threshold": (float(scores[ends[at]]) + float(scores[after])) / 2,
    }


def _groups(pairs: set[tuple[int, int]], count: int) -> list[list[int]]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    one, other = np.array(sorted(pairs)).T
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(row)
    return list(groups.values())


def _closed(groups: list[list[int]]) -> set[tuple[int, int]]:
    return {(one, other) for group in groups for at, one in enumerate(group) for other in group[at + 1 :]}
