"""Base of the evaluators: the call, the names of metrics and the CSV files."""

import csv
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.plurals import counted
from pipelines.evaluation.evaluators.shared import shared_encodings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """Output folder and training progress of one call."""

    folder: Path | None = None
    epoch: float = -1
    steps: int = -1


@dataclass(frozen=True, slots=True)
class Result:
    """Metrics by name, the primary metric, the row of the CSV file, and metrics of parts."""

    metrics: Mapping[str, float]
    primary: str
    row: Mapping[str, float]
    parts: Mapping[str, float] = field(default_factory=dict)


class Evaluator:
    """Base class of evaluators: called with a model, by hand or by a trainer.

    Names, keys and files are those of sentence-transformers 6.2.

    Parameters
    ----------
    name
        Name of the data; the prefix of each key of the result and a part of the file name.
    write_csv
        Append a row to `csv_file` in the folder of a call.
    """

    greater_is_better = True
    csv_file: str

    def __init__(self, name: str = "", *, write_csv: bool = True) -> None:
        self.name, self.write_csv = name, write_csv
        self.primary_metric: str | None = None

    @property
    def _prefix(self) -> str:
        return f"{self.name}_" if self.name else ""

    def file_name(self, kind: str, ending: str = "") -> str:
        """Return the name of the CSV file for this kind of evaluation and this data."""
        return f"{kind}{'_' if self.name else ''}{self.name}_results{ending}.csv"

    def __call__(
        self, model: Any, output_path: str | Path | None = None, epoch: float = -1, steps: int = -1, **more: Any
    ) -> dict[str, float]:
        """Score a model.

        Parameters
        ----------
        model
            An encoder, or what the evaluator documents.
        output_path
            Folder for files; None writes none.
        epoch, steps
            Progress of training, for the row of the file; -1 outside training.
        more
            Further arguments of `score`.

        Returns
        -------
        dict
            Metrics by name; `primary_metric` is the name of the main one.
        """
        call = Call(None if output_path is None else local_path(output_path, "output_path"), epoch, steps)
        return self.finished(self.score(model, call, **more), call, model)

    def score(self, model: Any, call: Call) -> Result:
        """Return the metrics of a model."""
        # Not abstract: as with sentence-transformers, an evaluator of one's own may override `__call__` instead.
        raise NotImplementedError

    def finished(self, result: Result, call: Call, model: Any = None) -> dict[str, float]:
        """Write the CSV row, add the prefix to the metrics, store them in the model card and set `primary_metric`."""
        if call.folder is not None and self.write_csv:
            append_row(call.folder / self.csv_file, {"epoch": call.epoch, "steps": call.steps, **result.row})
        self.primary_metric = self._prefix + result.primary
        found = {f"{self._prefix}{name}": float(value) for name, value in result.metrics.items()}
        best = found[self.primary_metric]
        logger.info("%s%s: %s %.4f", type(self).__name__, _when(call), self.primary_metric, best)
        self.store_metrics_in_model_card_data(model, found, call.epoch, call.steps)
        return {**result.parts, **found}

    def prefix_name_to_metrics(self, metrics: Mapping[str, float], name: str) -> dict[str, float]:
        """Prefix each metric and `primary_metric` with a name; for custom evaluators."""
        prefix = f"{name}_" if name else ""
        if self.primary_metric is not None and not self.primary_metric.startswith(prefix):
            self.primary_metric = prefix + self.primary_metric
        return {f"{prefix}{metric}": float(value) for metric, value in metrics.items()}

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: Mapping[str, float], epoch: float = -1, step: int = -1
    ) -> None:
        """Add metrics to the card that is saved with a model; a retriever or a pipeline has none."""
        from pipelines.model_card import card_of

        card = card_of(model)
        if card is not None:
            card.set_evaluation_metrics(self, metrics, epoch, step)


class SequentialEvaluator(Evaluator):
    """Sequence of evaluators; texts that they share, at any number of dimensions, are encoded once.

    Parameters
    ----------
    evaluators
        Called in this order.
    main_score_function
        Function that combines their primary metrics into one (the last).
    """

    def __init__(
        self, evaluators: Iterable[Evaluator], main_score_function: Callable[[Sequence[float]], float] | None = None
    ) -> None:
        super().__init__()
        self.evaluators = list(evaluators)
        self._main = main_score_function or (lambda scores: scores[-1])

    def __call__(
        self, model: Any, output_path: str | Path | None = None, epoch: float = -1, steps: int = -1, **more: Any
    ) -> dict[str, float]:
        """Score a model with each evaluator."""
        results: dict[str, float] = {}
        scores: list[float] = []
        with shared_encodings():
            each: list[Any] = [evaluator(model, output_path, epoch, steps) for evaluator in self.evaluators]
        for at, (evaluator, found) in enumerate(zip(self.evaluators, each, strict=True)):
            found = found if isinstance(found, Mapping) else {f"evaluator_{at}": found}
            primary = getattr(evaluator, "primary_metric", None)
            scores.append(found[primary] if primary is not None else next(iter(found.values())))
            results |= found
        self.primary_metric = "sequential_score"
        return results | {"sequential_score": self._main(scores) if scores else 0.0}


def warn_of_old_argument(old: str, new: str) -> None:
    """Warn the caller of an evaluator's constructor of a deprecated argument."""
    warnings.warn(f"the argument {old} is an old name: write {new} instead", DeprecationWarning, stacklevel=3)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a CSV file, after a header if the file is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(row)
        writer.writerow(row.values())


def _when(call: Call) -> str:
    if call.epoch == -1:
        return ""
    return (
        f" after epoch {call.epoch}"
        if call.steps == -1
        else f" in epoch {call.epoch} after {counted(call.steps, 'step')}"
    )


def check_cutoffs(**arguments: int | Sequence[int]) -> None:
    """Raise an `InputError` for a cutoff, or one of several, that is not a whole number of at least 1."""
    for name, value in arguments.items():
        one = name == "at_k" or isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray)
        cutoffs: Any = [value] if one else value
        for cutoff in cutoffs:
            if isinstance(cutoff, bool) or not isinstance(cutoff, int | np.integer) or cutoff < 1:
                raise InputError(f"{name}: a cutoff must be a whole number of at least 1, not {cutoff!r}")
