"""Evaluation tables of a card: one per evaluation, with the model before and after training."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.model_card.markdown import number, shown, table

BEFORE, AFTER, UNTRAINED = "before", "after", "value"


@dataclass(frozen=True, slots=True)
class EvaluationTable:
    """Results of one evaluation.

    Parameters
    ----------
    title
        Name of the evaluation.
    figures
        {measure: {system: value}}; the systems are columns, such as "before" and "after".
    dataset
        Name of the evaluation data.
    note
        Text below the table.
    measured
        The column of this model itself, whose figures go into the model index.
    """

    title: str
    figures: Mapping[str, Mapping[str, float]]
    dataset: str = ""
    note: str = ""
    measured: str = AFTER

    def __str__(self) -> str:
        systems = list(dict.fromkeys(system for values in self.figures.values() for system in values))
        rows = [
            [shown(measure), *(number(values[system]) if system in values else "" for system in systems)]
            for measure, values in self.figures.items()
        ]
        heading = f"### {shown(self.title)}" + (f"\n\n* Dataset: {shown(self.dataset)}" if self.dataset else "")
        note = f"\n\n{shown(self.note, 2000)}" if self.note else ""
        return f"{heading}\n\n{table(['measure', *map(shown, systems)], rows)}{note}"


@dataclass
class Evaluations:
    """Metrics of evaluators on one model, by the evaluator's title.

    Parameters
    ----------
    called
        {title: {"before" or "after": {name: value}}} of evaluators called outside of training.
    trained
        The same for evaluators called by a trainer, from its log.
    stepped
        {title: {name: value}} at the latest training step, of evaluators called by a trainer or a custom training loop.
    """

    called: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    trained: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    stepped: dict[str, dict[str, float]] = field(default_factory=dict)

    def record(self, evaluator: Any, metrics: Mapping[str, float], step: int) -> None:
        """Record an evaluator's metrics; a step of -1 is outside of training."""
        title = evaluator_title(evaluator)
        if step == -1:
            self.called.setdefault(title, {})[AFTER] = dict(metrics)
        else:
            self.stepped[title] = dict(metrics)

    def weights_change(self) -> None:
        """Mark all metrics so far as those before training."""
        for columns in self.called.values():
            if AFTER in columns:
                columns[BEFORE] = columns.pop(AFTER)

    def tables(self, *, is_trained: bool) -> list[EvaluationTable]:
        """Return one table per evaluator; a model that was not trained has a single column."""
        sources = [self.trained, self.called]
        if not is_trained:
            # The metrics of a custom training loop are in no trainer's log.
            sources.insert(0, {title: {AFTER: metrics} for title, metrics in self.stepped.items()})
        tables = []
        for title in dict.fromkeys(title for source in sources for title in source):
            name_of_evaluator, _, dataset = title.partition(": ")
            figures: dict[str, dict[str, float]] = {}
            for column in (BEFORE, AFTER):
                for source in sources:
                    for name, value in source.get(title, {}).get(column, {}).items():
                        system = column if is_trained else UNTRAINED
                        figures.setdefault(name.removeprefix(f"{dataset}_"), {})[system] = value
            measured = AFTER if is_trained else UNTRAINED
            tables += [EvaluationTable(name_of_evaluator, figures, dataset, measured=measured)] if figures else []
        return tables


def evaluator_title(evaluator: Any) -> str:
    """Return the words of an evaluator's class, or of a function's name, and the name of its data if it has one."""
    kind = str(getattr(evaluator, "__name__", type(evaluator).__name__))
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Evaluator")).replace("_", " ").strip()
    name = getattr(evaluator, "name", "")
    return f"{words}: {name}" if name else words
