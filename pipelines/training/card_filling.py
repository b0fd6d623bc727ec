"""Filling a model card from a trainer's data, log, arguments and losses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any

from pipelines.model_card.card import Card
from pipelines.model_card.dataset import DatasetFacts, dataset_facts
from pipelines.model_card.evaluations import AFTER, BEFORE
from pipelines.model_card.log import LogTable, figures_at
from pipelines.training.roles import roles

# Arguments that hold a path, a user's name or a secret.
_PRIVATE = re.compile(r"_dir$|token|^hub_|_private|^run_name$|^trackio|^project$|^resume_from")

# Arguments computed from others.
_DERIVED = {"accelerator_config", "do_eval", "prediction_loss_only"}


def facts_of(data: Any, model: Any) -> list[DatasetFacts]:
    """Return the facts of one dataset, of several by name, or of none."""
    if data is None:
        return []
    datasets = data if isinstance(data, Mapping) else {"": data}
    return [
        dataset_facts(dataset, model, lambda columns: roles(columns).label, str(name))
        for name, dataset in datasets.items()
    ]


def fill_card(card: Card, trainer: Any) -> None:
    """Update a card from a trainer's log, arguments and losses."""
    state, history = trainer.state, trainer.state.log_history
    arguments = {name: value for name, value in trainer.args.to_dict().items() if not _PRIVATE.search(name)}
    card.arguments = arguments
    defaults = _defaults(type(trainer.args))
    card.non_default = {
        name: value
        for name, value in arguments.items()
        if name in defaults and defaults[name] != value and (defaults[name] or value) and name not in _DERIVED
    }
    card.losses = {name or "": loss for name, loss in trainer.losses.items()}
    best = _step_of(state.best_model_checkpoint) if trainer.args.load_best_model_at_end else None
    first = [evaluator.primary_metric for evaluator in trainer.evaluators if getattr(evaluator, "primary_metric", None)]
    card.log = LogTable.of(history, [f"eval_{name}" for name in first], best)
    card.seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None)
    saved_step = state.global_step if card.seconds is None or best is None else best
    card.evaluations.trained = _figures(history, saved_step, card.evaluations.stepped)
    card.device = str(trainer.args.device)


def _figures(
    history: Sequence[Mapping[str, Any]], saved_step: int, evaluated: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return {title: {column: figures}} of the model before training and as it is saved."""
    columns = {BEFORE: figures_at(history, 0), AFTER: figures_at(history, saved_step)}
    if not columns[AFTER]:
        return {}
    groups: Mapping[str, Iterable[str]] = evaluated or {"Held-out data": [n for n in columns[AFTER] if n != "loss"]}
    return {
        title: {column: {name: values[name] for name in names if name in values} for column, values in columns.items()}
        for title, names in groups.items()
    }


def _defaults(arguments: type) -> dict[str, Any]:
    """Return a class's default arguments without an instance, which would reset the state of a running trainer."""
    defaults = {
        field.name: field.default_factory() if field.default_factory is not MISSING else field.default
        for field in fields(arguments)
    }
    return {name: value.value if isinstance(value, Enum) else value for name, value in defaults.items()}


def _step_of(checkpoint: str | None) -> int | None:
    number = (checkpoint or "").rpartition("-")[2]
    return int(number) if number.isdecimal() else None
