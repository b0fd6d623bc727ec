"""Training log of a card: a row for each logged step, with losses and evaluators' metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.model_card.markdown import number, shown, table

ROWS_SHOWN = 100
"""Longer logs are thinned out to about this many rows."""

_RUNTIME = ("_runtime", "_samples_per_second", "_steps_per_second", "_jit_compilation_time", "_model_preparation_time")
_PREFIX = "eval_"


@dataclass(frozen=True, slots=True)
class LogTable:
    """Figures by step of a training run.

    Parameters
    ----------
    columns
        Names of the figures.
    rows
        {"step", "epoch", column: value}.
    best
        The step of the best model, if that is the one saved.
    """

    columns: Sequence[str]
    rows: Sequence[Mapping[str, float]]
    best: int | None = None

    @classmethod
    def of(cls, history: Sequence[Mapping[str, Any]], shown_first: Sequence[str], best: int | None) -> "LogTable":
        """Return the table of a trainer's log.

        Parameters
        ----------
        shown_first
            Evaluators' figures to show, if the log has any of them; otherwise all are shown.
        """
        steps: dict[int, dict[str, float]] = {}
        for entry in history:
            if "loss" in entry or figures_of(entry):
                step = steps.setdefault(int(entry["step"]), {"step": entry["step"], "epoch": entry.get("epoch", 0)})
                step |= {name: value for name, value in entry.items() if name == "loss"} | figures_of(entry)
        rows = [steps[step] for step in sorted(steps)]
        every = dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch"))
        wanted = [name for name in every if name in ("loss", "eval_loss") or name in shown_first]
        columns = wanted if any(name in every for name in shown_first) else list(every)
        # Evaluations are always shown.
        skip = -(-len(rows) // ROWS_SHOWN)
        selected = [row for at, row in enumerate(rows) if at % skip == 0 or any(n.startswith(_PREFIX) for n in row)]
        return cls(columns, selected, best)

    def __str__(self) -> str:
        rows = [
            [
                number(float(row["epoch"])),
                str(int(row["step"])),
                *(number(row[n]) if n in row else "" for n in self.columns),
            ]
            for row in self.rows
        ]
        bold = next((at for at, row in enumerate(self.rows) if row["step"] == self.best), None)
        note = "\n\nThe row in bold is the model that was saved." if bold is not None else ""
        return table(["epoch", "step", *map(shown, self.columns)], rows, bold=bold) + note


def figures_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return a log entry's figures on held-out data, without run times."""
    return {
        name: float(value)
        for name, value in entry.items()
        if name.startswith(_PREFIX) and not name.endswith(_RUNTIME) and isinstance(value, int | float)
    }


def figures_at(history: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
    """Return the figures on held-out data at a step, without the prefix; empty without an evaluation."""
    return {
        name.removeprefix(_PREFIX): value
        for entry in history
        if entry.get("step") == step
        for name, value in figures_of(entry).items()
    }
