"""Several processes that train one model: their gradients are averaged once a step."""

from collections.abc import Iterable

import torch
from torch import nn


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients, before the optimizer's step.

    `DistributedDataParallel` does it while going backward, and counts on one forward pass a step through all weights:
    but each column is a pass of its own, cached gradients are many, and a route is passed by some columns only. A
    parameter that some processes have no gradient for counts as 0 there; one that none has is left alone.
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
