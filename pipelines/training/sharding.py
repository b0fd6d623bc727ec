"""Models whose weights are divided among processes (FSDP): whole weights to save and encode, and loading them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(network: nn.Module) -> bool:
    """Return whether this process holds only a part of the weights."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


@contextmanager
def whole_weights(network: nn.Module) -> Iterator[None]:
    """Replace divided weights by whole ones, for a block that saves or encodes; all processes must enter it."""
    from torch.distributed.tensor import DTensor

    # A layer may stand under several names.
    divided: dict[Any, Any] = {
        (module, name): parameter
        for module in network.modules()
        for name, parameter in module._parameters.items()
        if isinstance(parameter, DTensor)
    }
    # Each is gathered by all processes at once, so all must have the same order.
    whole = {parameter: nn.Parameter(parameter.detach().full_tensor()) for parameter in dict.fromkeys(divided.values())}
    for (module, name), parameter in divided.items():
        module._parameters[name] = whole[parameter]
    try:
        yield
    finally:
        for (module, name), parameter in divided.items():
            module._parameters[name] = parameter


def fill_gradients(network: nn.Module) -> None:
    """Set the gradient to 0 for weights that have none, such as BERT's unused pooler.

    torch does not load the state of a divided optimizer that lacks a weight.
    """
    for parameter in network.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


@torch.no_grad()
def load_whole(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load whole weights; of a divided one, each process takes its part."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    own: dict[str, Any] = network.state_dict()
    network.load_state_dict(
        {
            name: distribute_tensor(weight.to(own[name].device), own[name].device_mesh, own[name].placements)
            if isinstance(own.get(name), DTensor)
            else weight
            for name, weight in weights.items()
        }
    )
