"""What evaluations found, as a card shows it: one table an evaluation, the model before and after training."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.model_card.markdown import number, shown, table

BEFORE, AFTER, UNTRAINED = "before", "after", "value"


@dataclass(frozen=True, slots=True)
class EvaluationTable:
    """What an evaluation found.

    Parameters
    ----------
    title
        Of the evaluation.
    figures
        {measure: {system: value}}: the systems are columns, such as "before" and "after".
    dataset
        On which.
    note
        Said below the table.
    measured
        The column that is this model's own; its figures go into the model index.
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
    """What evaluators found on one model, by the evaluator's title.

    Parameters
    ----------
    called
        {title: {"before" or "after": {name: value}}} of evaluators that were called on the model itself.
    trained
        The same of those that a trainer called, as its log has them.
    stepped
        {title: {name: value}} at the last step of training that was named: of those that a trainer called, and of
        those that a loop of one's own did.
    """

    called: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    trained: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    stepped: dict[str, dict[str, float]] = field(default_factory=dict)

    def record(self, evaluator: Any, metrics: Mapping[str, float], step: int) -> None:
        """Take down what an evaluator found; a step of -1 is outside of training."""
        title = evaluator_title(evaluator)
        if step == -1:
            self.called.setdefault(title, {})[AFTER] = dict(metrics)
        else:
            self.stepped[title] = dict(metrics)

    def weights_change(self) -> None:
        """Take what was found so far as found before."""
        for columns in self.called.values():
            if AFTER in columns:
                columns[BEFORE] = columns.pop(AFTER)

    def tables(self, *, is_trained: bool) -> list[EvaluationTable]:
        """Lay all out; figures of a model that was never trained are in one column."""
        sources = [self.trained, self.called]
        if not is_trained:
            # No trainer's log has what a loop of one's own found.
            sources.insert(0, {title: {AFTER: found} for title, found in self.stepped.items()})
        tables = []
        for title in dict.fromkeys(title for source in sources for title in source):
            words, _, dataset = title.partition(": ")
            figures: dict[str, dict[str, float]] = {}
            for column in (BEFORE, AFTER):
                for source in sources:
                    for name, value in source.get(title, {}).get(column, {}).items():
                        shown_as = column if is_trained else UNTRAINED
                        figures.setdefault(name.removeprefix(f"{dataset}_"), {})[shown_as] = value
            measured = AFTER if is_trained else UNTRAINED
            tables += [EvaluationTable(words, figures, dataset, measured=measured)] if figures else []
        return tables


def evaluator_title(evaluator: Any) -> str:
    """Give the words of an evaluator's class, and the name of its data where it has one."""
    kind = type(evaluator).__name__ if not hasattr(evaluator, "__name__") else str(evaluator.__name__)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Evaluator")).replace("_", " ").strip()
    name = getattr(evaluator, "name", "")
    return f"{words}: {name}" if name else words
