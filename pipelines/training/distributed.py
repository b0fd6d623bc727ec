"""Distributed training: average the gradients of all processes once per step."""

from collections.abc import Iterable

import torch
from torch import nn


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of each process by the mean over all processes, before the optimizer's step.

    `DistributedDataParallel` cannot do this: it averages during the backward pass and expects one forward pass per step
    through all weights, whereas each column has its own pass, cached gradients have many, and only some columns take a
    route. A gradient missing on some processes counts as 0 there; one missing on all processes stays missing.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        return
    used = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
    used = used.to(trained[0].device)
    torch.distributed.all_reduce(used)
    processes = torch.distributed.get_world_size()
    for parameter, count in zip(trained, used.tolist(), strict=True):
        if not count:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad.div_(processes)
