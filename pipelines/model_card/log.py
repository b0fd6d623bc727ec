"""The log of a training run as a card shows it: a row for each step that logged, and what evaluators found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.model_card.markdown import number, shown, table

ROWS_SHOWN = 100

_RUNTIME = ("_runtime", "_samples_per_second", "_steps_per_second", "_jit_compilation_time", "_model_preparation_time")
_PREFIX = "eval_"


@dataclass(frozen=True, slots=True)
class LogTable:
    """Steps and their figures.

    Parameters
    ----------
    columns
        Which figures.
    rows
        {"step", "epoch", column: value}.
    best
        The step of the model that was kept, if it was chosen.
    """

    columns: Sequence[str]
    rows: Sequence[Mapping[str, float]]
    best: int | None = None

    @classmethod
    def of(cls, history: Sequence[Mapping[str, Any]], shown_first: Sequence[str], best: int | None) -> "LogTable":
        """Make one of a trainer's log.

        Parameters
        ----------
        shown_first
            Of the evaluators' figures only these, where there are any; else all.
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
        # Of very long logs every evaluation is shown, and the losses between them thinned out.
        skip = -(-len(rows) // ROWS_SHOWN)
        kept = [row for at, row in enumerate(rows) if at % skip == 0 or any(n.startswith(_PREFIX) for n in row)]
        return cls(columns, kept, best)

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
    """Give what an entry of the log says of held-out data, without how long that took."""
    return {
        name: float(value)
        for name, value in entry.items()
        if name.startswith(_PREFIX) and not name.endswith(_RUNTIME) and isinstance(value, int | float)
    }


def figures_at(history: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
    """Give what was found on held-out data at a step, without the prefix; empty where nothing was."""
    found: dict[str, float] = {}
    for entry in history:
        if entry.get("step") == step:
            found |= {name.removeprefix(_PREFIX): value for name, value in figures_of(entry).items()}
    return found
