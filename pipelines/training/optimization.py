"""Groups of parameters for an optimizer, with their learning rates and weight decay."""

import re
from typing import Any

from torch import nn

from indexing.errors import InputError
from pipelines.training.arguments import TrainingArguments


def parameter_groups(owner: nn.Module, decayed: set[str], args: TrainingArguments) -> list[dict[str, Any]]:
    """Return the trained parameters of a module in groups with one learning rate and weight decay each.

    Raises
    ------
    InputError
        For an expression of `learning_rate_mapping` that matches no parameter.
    """
    rates = dict[str, float | None]()
    parameters = {name: parameter for name, parameter in owner.named_parameters() if parameter.requires_grad}
    for pattern, rate in (args.learning_rate_mapping or {}).items():
        matching = [name for name in parameters if re.search(pattern, name)]
        if not matching:
            examples = ", ".join(list(parameters)[:3])
            raise InputError(f"learning_rate_mapping: {pattern!r} matches no parameter; there are {examples}, …")
        rates |= dict.fromkeys(matching, rate)
    groups: dict[tuple[float | None, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((rates.get(name), name in decayed), []).append(parameter)
    return [
        {
            "params": group,
            "weight_decay": args.weight_decay if decays else 0.0,
            **({} if rate is None else {"lr": rate}),
        }
        for (rate, decays), group in groups.items()
    ]
