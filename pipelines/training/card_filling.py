"""What a trainer knows of its run, put into its card."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any

from pipelines.model_card.card import Card
from pipelines.model_card.dataset import DatasetFacts, dataset_facts
from pipelines.model_card.evaluations import AFTER, BEFORE
from pipelines.model_card.log import LogTable, figures_at

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


def fill_card(card: Card, trainer: Any) -> None:
    """Bring a card up to date with a trainer's log, arguments and losses."""
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
    card.evaluations.trained = _figures(history, kept, card.evaluations.stepped)
    card.seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None)
    card.device = str(trainer.args.device)


def _figures(
    history: Sequence[Mapping[str, Any]], kept: int, evaluated: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Give {title: {column: figures}}, of the model before training and as it is kept."""
    columns = {BEFORE: figures_at(history, 0), AFTER: figures_at(history, kept)}
    if not columns[AFTER]:
        return {}
    groups = {title: list(found) for title, found in evaluated.items()}
    groups = groups or {"Held-out data": [name for name in columns[AFTER] if name != "loss"]}
    return {
        title: {column: {name: found[name] for name in names if name in found} for column, found in columns.items()}
        for title, names in groups.items()
    }


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
