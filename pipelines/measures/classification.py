"""Measures of classifiers: accuracy and F1 at their best thresholds, F1 over classes, Matthews correlation.

Definitions and ties are scikit-learn's; thresholds are sentence-transformers'.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.measures.formulas import average_precision
from pipelines.measures.labelled_lists import judge_lists


def threshold_measures(scores: NDArray, labels: NDArray[np.int64], *, higher: bool = True) -> dict[str, float]:
    """Return accuracy and F1 at their best thresholds, precision and recall at that of F1, and average precision.

    Parameters
    ----------
    scores, labels
        [pairs]; the labels are 0 or 1.
    higher
        Whether a pair is positive at scores above the threshold (similarities), or below it (distances).
    """
    accuracy, accuracy_threshold = best_accuracy(scores, labels, higher=higher)
    f1, precision, recall, f1_threshold = best_f1(scores, labels, higher=higher)
    judged = judge_lists([labels == 1], [scores if higher else -scores])
    return {
        "accuracy": accuracy,
        "accuracy_threshold": accuracy_threshold,
        "f1": f1,
        "f1_threshold": f1_threshold,
        "precision": precision,
        "recall": recall,
        "average_precision": float(average_precision(judged, ties="shared")[0]),
    }


def best_accuracy(scores: NDArray, labels: NDArray[np.int64], *, higher: bool) -> tuple[float, float]:
    """Return the best accuracy of one threshold, and that threshold.

    The threshold lies half way to the next score, or beyond all scores when calling every pair negative is best.
    """
    if not len(scores):
        return 0.0, -1.0
    ordered, truth, ends = _by_threshold(scores, labels, higher)
    negatives = int((truth == 0).sum())
    correct = np.cumsum(truth == 1)[ends] + negatives - np.cumsum(truth != 1)[ends]
    best = int(correct.argmax())
    if correct[best] / len(truth) <= negatives / len(truth):
        kind = np.result_type(ordered.dtype, np.float16)
        beyond = np.nextafter(ordered[0].astype(kind), kind.type(np.inf if higher else -np.inf))
        return negatives / len(truth), float(beyond)
    return float(correct[best] / len(truth)), _between(ordered, int(ends[best]))


def best_f1(
    scores: NDArray, labels: NDArray[np.int64], *, higher: bool, positives: int | None = None
) -> tuple[float, float, float, float]:
    """Return the best F1 of one threshold, its precision and recall, and the threshold; zeros without a positive.

    Parameters
    ----------
    positives
        Number of positives in all, where some have no score (those among `labels`).
    """
    ordered, truth, ends = _by_threshold(scores, labels, higher)
    found = np.cumsum(truth == 1)[ends]
    if not found.any():
        return 0.0, 0.0, 0.0, 0.0
    precision, recall = found / (ends + 1), found / (int(labels.sum()) if positives is None else positives)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    best = int(f1.argmax())
    return float(f1[best]), float(precision[best]), float(recall[best]), _between(ordered, int(ends[best]))


def matthews(truth: NDArray[np.int64], predicted: NDArray[np.bool_]) -> float:
    """Return the Matthews correlation of two labellings, 0 where one of them is constant."""
    truth, predicted = truth.astype(np.float64), predicted.astype(np.float64)
    spread = truth.std() * predicted.std()
    return float(((truth - truth.mean()) * (predicted - predicted.mean())).mean() / spread) if spread else 0.0


def f1_of_classes(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    """Return F1 over classes: its mean, F1 over all decisions, and its mean weighted by class frequency."""
    classes = np.unique(np.concatenate((truth, predicted)))
    correct = np.array([((truth == label) & (predicted == label)).sum() for label in classes], dtype=np.float64)
    actual = np.array([(truth == label).sum() for label in classes], dtype=np.float64)
    assigned = np.array([(predicted == label).sum() for label in classes], dtype=np.float64)
    f1 = 2 * correct / np.maximum(actual + assigned, 1e-300)
    return {
        "f1_macro": float(f1.mean()),
        "f1_micro": float(2 * correct.sum() / (actual.sum() + assigned.sum())),
        "f1_weighted": float((f1 * actual).sum() / actual.sum()),
    }


def _by_threshold(
    scores: NDArray, labels: NDArray[np.int64], higher: bool
) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64]]:
    """Sort by score; return scores, labels and the last position of each run of equal scores."""
    order = np.argsort(-scores if higher else scores, kind="stable")
    ordered = scores[order]
    last = np.ones(len(ordered), dtype=np.bool_)
    last[:-1] = ordered[1:] != ordered[:-1]
    return ordered, labels[order], np.flatnonzero(last)


def _between(ordered: NDArray, position: int) -> float:
    """Return the number half way from a score to the next one; the score itself where nothing lies between."""
    score = ordered[position]
    if position == len(ordered) - 1:
        return float(score)
    middle = (score + ordered[position + 1]) / 2
    return float(score if middle == ordered[position + 1] else middle)
