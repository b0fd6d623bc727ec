"""The random numbers of a computation that is done twice."""

from collections.abc import Iterable
from typing import Any

import torch


class RandomState:
    """The state of the random numbers when it was made, on the processor and on the GPUs that are named.

    ``with state:`` begins from there again, as when dropout must fall alike in both passes of gradient caching, and
    leaves the numbers outside as they are.

    Parameters
    ----------
    devices
        Where the computation draws; those that are no GPU count once, as the processor.
    """

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._devices = sorted({device.index or 0 for device in devices if device.type == "cuda"})
        self._processor = torch.get_rng_state()
        self._cards = [torch.cuda.get_rng_state(device) for device in self._devices]
        self._fork: Any = None

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=self._devices)
        self._fork.__enter__()
        torch.set_rng_state(self._processor)
        for device, state in zip(self._devices, self._cards, strict=True):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)
