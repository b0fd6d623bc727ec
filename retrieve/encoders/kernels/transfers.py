"""Copies between the processor and a GPU that do not make one wait for the other."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")


def to_device(array: NDArray[Any], device: "torch.device") -> "torch.Tensor":
    """Copy an array to a device; to a CUDA GPU from page-locked memory, without waiting for the copy."""
    import torch

    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def finished(results: Iterable[T], finish: Callable[[T], R], device: "torch.device") -> Iterator[R]:
    """Yield ``finish(result)`` of each result; on a CUDA GPU while it computes the next result.

    Kernels of a GPU run in the order in which they are launched, so a copy to the processor that is launched after the
    next batch would wait for that batch. `finish` therefore runs in a stream of its own. It must return values in the
    processor's memory, so that its GPU work is done when it returns.
    """
    if device.type != "cuda":
        yield from map(finish, results)
        return
    import torch

    main, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    waiting: tuple[T, torch.cuda.Event] | None = None
    for result in results:
        launched = main.record_event()
        if waiting is not None:
            with torch.cuda.stream(aside):
                aside.wait_event(waiting[1])
                done = finish(waiting[0])
            yield done
        waiting = result, launched
    if waiting is not None:
        yield finish(waiting[0])
