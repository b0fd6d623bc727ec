"""Random-number state for a computation that runs twice."""

from collections.abc import Iterable
from typing import Any

import torch


class RandomState:
    """Snapshot of the random-number generators of the CPU and of the GPUs among `devices`.

    ``with state:`` runs a block from the snapshot, so that dropout is the same in both passes of gradient caching, and
    restores the generators afterwards.

    Parameters
    ----------
    devices
        Devices on which the computation draws random numbers; the CPU is always included.
    """

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._devices = sorted({device.index or 0 for device in devices if device.type == "cuda"})
        self._cpu_state = torch.get_rng_state()
        self._gpu_states = [torch.cuda.get_rng_state(device) for device in self._devices]
        self._fork: Any = None

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=self._devices)
        self._fork.__enter__()
        torch.set_rng_state(self._cpu_state)
        for device, state in zip(self._devices, self._gpu_states, strict=True):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)
