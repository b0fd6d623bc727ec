"""Measures of scored candidates, as scikit-learn defines them: ties share what they earn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def average_precision(relevant: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Give the sum of precision times the gain in recall over all thresholds; equal scores are one threshold."""
    if not relevant.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ordered, found = scores[order], np.cumsum(relevant[order])
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    precision, recall = found[ends] / (ends + 1), found[ends] / found[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def ndcg(relevant: NDArray[np.floating], scores: NDArray[np.floating], k: int) -> float:
    """Give nDCG@k; documents of equal score share the mean of the gains at their ranks."""
    discount = 1 / np.log2(np.arange(len(scores)) + 2.0)
    discount[k:] = 0.0
    ideal = float((np.sort(relevant)[::-1] * discount).sum())
    if ideal == 0:
        return 0.0
    _, inverse, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = np.bincount(inverse, weights=relevant) / counts
    ends = np.cumsum(counts)
    sums = np.add.reduceat(discount, np.concatenate(([0], ends[:-1])))
    return float((gains * sums).sum()) / ideal


def reciprocal_rank(relevant: NDArray[np.bool_], order: NDArray[np.int64], k: int) -> float:
    """Give 1 / rank of the first relevant one among the first `k` of an order, else 0."""
    places = np.flatnonzero(relevant[order[:k]])
    return 1.0 / (int(places[0]) + 1) if len(places) else 0.0


def best_accuracy(scores: NDArray, labels: NDArray[np.int64], *, higher: bool) -> tuple[float, float]:
    """Give the best accuracy of one threshold, and the threshold: half way to the next score, or above all scores."""
    if not len(scores):
        return 0.0, -1.0
    ordered, truth, ends = _by_threshold(scores, labels, higher)
    negatives = int((truth == 0).sum())
    right = np.cumsum(truth == 1)[ends] + negatives - np.cumsum(truth != 1)[ends]
    best = int(right.argmax())
    if right[best] / len(truth) <= negatives / len(truth):
        kind = np.result_type(ordered.dtype, np.float16)
        beyond = np.nextafter(ordered[0].astype(kind), kind.type(np.inf if higher else -np.inf))
        return negatives / len(truth), float(beyond)
    return float(right[best] / len(truth)), _between(ordered, int(ends[best]))


def best_f1(scores: NDArray, labels: NDArray[np.int64], *, higher: bool) -> tuple[float, float, float, float]:
    """Give the best F1 of one threshold, its precision and recall, and the threshold."""
    ordered, truth, ends = _by_threshold(scores, labels, higher)
    right = np.cumsum(truth == 1)[ends] if len(ends) else np.zeros(0)
    total = int(labels.sum())
    if not len(ends) or not right.any():
        return 0.0, 0.0, 0.0, 0.0
    precision, recall = right / (ends + 1), right / total
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    best = int(f1.argmax())
    return float(f1[best]), float(precision[best]), float(recall[best]), _between(ordered, int(ends[best]))


def matthews(truth: NDArray[np.int64], guess: NDArray[np.bool_]) -> float:
    """Give Matthews' correlation of two labellings, 0 where one of them is constant."""
    truth, guess = truth.astype(np.float64), guess.astype(np.float64)
    spread = truth.std() * guess.std()
    return float(((truth - truth.mean()) * (guess - guess.mean())).mean() / spread) if spread else 0.0


def f1_of_classes(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> dict[str, float]:
    """Give F1 over classes: their mean, over all decisions, and weighted by how often each class is true."""
    classes = np.unique(np.concatenate((truth, guess)))
    right = np.array([((truth == one) & (guess == one)).sum() for one in classes], dtype=np.float64)
    wanted = np.array([(truth == one).sum() for one in classes], dtype=np.float64)
    given = np.array([(guess == one).sum() for one in classes], dtype=np.float64)
    f1 = 2 * right / np.maximum(wanted + given, 1e-300)
    return {
        "f1_macro": float(f1.mean()),
        "f1_micro": float(2 * right.sum() / (wanted.sum() + given.sum())),
        "f1_weighted": float((f1 * wanted).sum() / wanted.sum()),
    }


def means(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Give the mean of each column; 0 for no rows."""
    return np.mean(np.asarray(values, dtype=np.float64), axis=0) if len(values) else np.zeros(3)


def _by_threshold(
    scores: NDArray, labels: NDArray[np.int64], higher: bool
) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64]]:
    """Sort by score, and give the last place of each run of equal scores."""
    order = np.argsort(-scores if higher else scores, kind="stable")
    ordered = scores[order]
    ends = (
        np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1) if len(ordered) else np.zeros(0, int)
    )
    return ordered, labels[order], ends


def _between(ordered: NDArray, place: int) -> float:
    """Half way from a score to the next different one; the score itself where there is nothing between."""
    score = ordered[place]
    if place == len(ordered) - 1:
        return float(score)
    middle = (score + ordered[place + 1]) / 2
    return float(score if middle == ordered[place + 1] else middle)
