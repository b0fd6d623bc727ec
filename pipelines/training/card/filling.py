"""What a trainer knows of its run, put into its card."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any

from pipelines.training.card.card import Card, EvaluationTable
from pipelines.training.card.dataset import DatasetFacts, dataset_facts
from pipelines.training.card.log import LogTable, figures_at

# Of one machine or one user, or a secret.
_PRIVATE = re.compile(r"_dir$|token|^hub_|_private|^run_name$|^trackio|^project$|^resume_from")

# Made of other arguments.
_DERIVED = {"accelerator_config", "do_eval", "prediction_loss_only"}


def facts_of(data: Any, model: Any) -> list[DatasetFacts]:
    """Look at one dataset, or several by name, or none."""
    if data is None:
        return []
    if isinstance(data, Mapping):
        return [dataset_facts(one, model, str(name)) for name, one in data.items()]
    return [dataset_facts(data, model)]


def evaluator_title(evaluator: Any) -> str:
    """Give the words of an evaluator's class, and the name of its data where it has one."""
    kind = type(evaluator).__name__ if not hasattr(evaluator, "__name__") else str(evaluator.__name__)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Evaluator")).replace("_", " ").strip()
    name = getattr(evaluator, "name", "")
    return f"{words}: {name}" if name else words


def fill_card(card: Card, trainer: Any, evaluated: Mapping[str, Sequence[str]]) -> None:
    """Bring a card up to date with a trainer's log, arguments and losses.

    Parameters
    ----------
    evaluated
        {title of an evaluator: names of its figures}.
    """
    state, history = trainer.state, trainer.state.log_history
    arguments = {name: value for name, value in trainer.args.to_dict().items() if not _PRIVATE.search(name)}
    card.arguments = arguments
    usual = _defaults(type(trainer.args))
    card.non_default = {
        name: value
        for name, value in arguments.items()
        if name in usual and usual[name] != value and (usual[name] or value) and name not in _DERIVED
    }
    card.losses = {name or "": loss for name, loss in trainer.losses.items()}
    best = _step_of(state.best_model_checkpoint) if trainer.args.load_best_model_at_end else None
    first = [evaluator.primary_metric for evaluator in trainer.evaluators if getattr(evaluator, "primary_metric", None)]
    card.log = LogTable.of(history, [f"eval_{name}" for name in first], best)
    is_over = any("train_runtime" in entry for entry in history)
    kept = best if is_over and best is not None else state.global_step
    card.found = _tables(history, kept, evaluated)
    card.seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None)
    card.device = str(trainer.args.device)


def _tables(
    history: Sequence[Mapping[str, Any]], kept: int, evaluated: Mapping[str, Sequence[str]]
) -> list[EvaluationTable]:
    before, after = figures_at(history, 0), figures_at(history, kept)
    groups = dict(evaluated) or {"Held-out data": [name for name in after if name != "loss"]}
    tables = []
    for title, names in groups.items():
        figures = {
            name: {system: found[name] for system, found in (("before", before), ("after", after)) if name in found}
            for name in names
        }
        figures = {name: values for name, values in figures.items() if values}
        if figures and after:
            words, _, dataset = title.partition(": ")
            figures = {name.removeprefix(f"{dataset}_"): values for name, values in figures.items()}
            tables.append(EvaluationTable(words, figures, dataset))
    return tables


def _defaults(arguments: type) -> dict[str, Any]:
    """Give the defaults of a class of arguments; to make one would end the state that a running trainer stands on."""
    found = {
        one.name: one.default_factory() if one.default_factory is not MISSING else one.default
        for one in fields(arguments)
    }
    return {name: value.value if isinstance(value, Enum) else value for name, value in found.items()}


def _step_of(checkpoint: str | None) -> int | None:
    number = (checkpoint or "").rpartition("-")[2]
    return int(number) if number.isdecimal() else None
