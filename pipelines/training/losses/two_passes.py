"""The two passes of gradient caching, with the same random numbers in both."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pipelines.training.model import concatenate_rows


class TwoPasses:
    """A model's output for the pieces of a batch: computed at once without gradients, and again in `backward`.

    Parameters
    ----------
    run
        Function from a piece to its output [rows, …].
    pieces
        Parts of the batch, small enough for one backward pass each.
    devices
        Devices on which `run` draws random numbers, as for dropout; the CPU is always included.

    Attributes
    ----------
    output
        The output of all pieces, a leaf whose gradient `backward` passes on.
    """

    def __init__(self, run: Callable[[Any], Tensor], pieces: Sequence[Any], devices: Iterable[torch.device]) -> None:
        self._run, self._pieces = run, pieces
        self._gpus = sorted({device.index or 0 for device in devices if device.type == "cuda"})
        self._states: list[tuple[Tensor, list[Tensor]]] = []
        outputs = []
        for piece in pieces:
            self._states.append((torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in self._gpus]))
            with torch.no_grad():
                outputs.append(run(piece))
        self.output = concatenate_rows(outputs).detach().requires_grad_(torch.is_grad_enabled())

    def backward(self, slope: Tensor) -> None:
        """Run the pieces again with gradients, and pass on those of `output`, times the gradient of the loss."""
        start = 0
        with torch.enable_grad():
            for piece, state in zip(self._pieces, self._states, strict=True):
                with self._random(*state):
                    again = self._run(piece)
                gradient = self.output.grad[start : start + len(again)] * slope  # type: ignore[index]
                if gradient.ndim == 3:  # token vectors, padded to the longest piece
                    gradient = gradient[:, : again.shape[1]]
                start += len(again)
                if again.requires_grad:
                    again.backward(gradient.to(again.dtype))

    @contextmanager
    def _random(self, cpu: Tensor, gpus: Sequence[Tensor]) -> Iterator[None]:
        """Run a block from this state of the random-number generators, and restore them afterwards."""
        with torch.random.fork_rng(devices=self._gpus):
            torch.set_rng_state(cpu)
            for gpu, state in zip(self._gpus, gpus, strict=True):
                torch.cuda.set_rng_state(state, gpu)
            yield
