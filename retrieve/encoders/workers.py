"""Several processes that encode side by side: processors, or GPUs, each with its own copy of the encoder."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from pickle import PicklingError
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse, vstack

from indexing.errors import InputError, ModelError
from indexing.resources import Closing
from retrieve.encoders.base import PromptedEncoder

E = TypeVar("E", bound=PromptedEncoder)

CHUNK = 2048
"""Texts that a worker takes at a time: enough to batch well, few enough that all end together."""

_encoder: Any = None
"""In a worker: its copy of the encoder."""


class EncoderWorkers(Closing, Generic[E]):
    """An encoder loaded in several processes, for the length of a ``with`` block.

    The processes are spawned, not forked, so that they may use a GPU and a Java virtual machine may be running here;
    a script that makes one needs ``if __name__ == "__main__":``. Results are those of one process, in order; which
    texts share a batch differs, so they are equal up to rounding. `Encoder.start_multi_process_pool` makes one of an
    encoder that is there already, whose `encode` or `predict` then takes it as ``pool``.

    Parameters
    ----------
    encoder_class, model, arguments
        What each process makes: ``encoder_class(model, device=..., **arguments)``.
    devices
        One process for each: ``["cuda:0", "cuda:1"]``, or ``["cpu"] * 4``. Those on "cpu" divide the processor's
        threads among them.

    Raises
    ------
    InputError
        For no devices.

    Examples
    --------
    >>> with EncoderWorkers(DenseEncoder, path, devices=["cuda:0", "cuda:1"]) as workers:  # doctest: +SKIP
    ...     vectors = workers.encode(texts, task="document")
    """

    def __init__(self, encoder_class: type[E], model: str | Path, *, devices: Sequence[str], **arguments: Any) -> None:
        if not devices or isinstance(devices, str):
            raise InputError(f"devices must name at least one device in a list, not {devices!r}")
        context = get_context("spawn")
        waiting = context.Queue()
        for device in devices:
            waiting.put(str(device))
        processors = [device for device in devices if str(device) == "cpu"]
        threads = max(1, _processors() // len(processors)) if processors else None
        self._count = len(devices)
        self._pool = ProcessPoolExecutor(
            self._count, context, _start, (encoder_class, str(model), arguments, waiting, threads)
        )

    def encode(self, texts: Iterable[str], *, chunk: int | None = None, **options: Any) -> Any:
        """Encode texts; options as the encoder's own `encode` has them, less `out`, `pool` and `device`.

        Returns
        -------
        what the encoder's `encode` returns: an array [texts, dim], or a csr_matrix [texts, vocabulary]
        """
        blocks = list(self.encode_stream(texts, chunk=chunk, **options))
        if not blocks:
            return self._submit("encode", [], options).result()
        return csr_matrix(vstack(blocks, format="csr")) if issparse(blocks[0]) else np.concatenate(blocks)

    def predict(self, pairs: Iterable[tuple[str, str]], *, chunk: int | None = None, **options: Any) -> Any:
        """Score pairs of texts; options as `CrossEncoder.predict` has them, less `pool` and `device`.

        Returns
        -------
        float32 [pairs], or [pairs, labels]
        """
        blocks = list(self.predict_stream(pairs, chunk=chunk, **options))
        return np.concatenate(blocks) if blocks else self._submit("predict", [], options).result()

    def encode_stream(
        self, texts: Iterable[str], *, chunk: int | None = None, show_progress: bool = False, **options: Any
    ) -> Iterator[Any]:
        """Encode texts without end: the blocks of `chunk` texts each, in order, at most two a process under way.

        Parameters
        ----------
        texts, options
            As the encoder's `encode` has them.
        chunk
            Texts that a process takes at a time; by default 2,048, fewer where there are not enough for all processes.
        show_progress
            A progress bar on stderr, counted in texts.

        Raises
        ------
        InputError
            As the encoder's `encode`; positions count from the start of the block. Also for an option that would make
            a block depend on the others: "int8" and "uint8" need `ranges` here.
        ModelError
            When a process has ended, for want of memory or because the encoder cannot be loaded there.
        """
        if options.get("precision") in ("int8", "uint8") and options.get("ranges") is None:
            raise InputError(f"{options['precision']} needs ranges here: each process sees some of the vectors only")
        yield from self._stream("encode", texts, chunk, show_progress, options)

    def predict_stream(
        self, pairs: Iterable[tuple[str, str]], *, chunk: int | None = None, show_progress: bool = False, **options: Any
    ) -> Iterator[NDArray[np.float32]]:
        """Score pairs without end, as `encode_stream` encodes texts."""
        yield from self._stream("predict", pairs, chunk, show_progress, options)

    def _stream(
        self, method: str, items: Iterable[Any], chunk: int | None, show_progress: bool, options: dict[str, Any]
    ) -> Iterator[Any]:
        from tqdm import tqdm

        if chunk is not None and chunk < 1:
            raise InputError(f"chunk must be at least 1, not {chunk}")
        total = len(items) if isinstance(items, Sized) else None
        # Some four chunks a process, so that all end together.
        chunk = chunk or (CHUNK if total is None else min(CHUNK, max(32, -(-total // (4 * self._count)))))
        items = iter(items)
        underway: deque[Future[Any]] = deque()
        try:
            with tqdm(total=total, unit="text", desc="encoding", disable=not show_progress) as bar:
                while True:
                    while len(underway) < 2 * self._count and (some := list(islice(items, chunk))):
                        underway.append(self._submit(method, some, options))
                    if not underway:
                        return
                    block = underway.popleft().result()
                    bar.update(block.shape[0])
                    yield block
        except BrokenProcessPool as error:
            raise ModelError(
                "an encoding process has ended: it could not load the encoder or ran out of memory; "
                "what it wrote to stderr says which"
            ) from error
        finally:
            for future in underway:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, method: str, items: list[Any], options: dict[str, Any]) -> Future[Any]:
        try:
            return self._pool.submit(_run, method, items, options)
        except (PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the encoder cannot be made in another process ({error}): an activation must be a torch module or a "
                "function that can be imported"
            ) from error


@contextmanager
def borrowed(
    encoder: PromptedEncoder, pool: EncoderWorkers[Any] | None, device: Sequence[str] | None
) -> Iterator[EncoderWorkers[Any]]:
    """Give the pool, or one on these devices that ends with the block.

    Raises
    ------
    InputError
        For both, or for a device instead of a list of them.
    """
    if pool is not None and device is not None:
        raise InputError("give pool or device, not both: a pool has its devices already")
    if pool is not None:
        yield pool
        return
    if isinstance(device, str) or not device:
        raise InputError(
            f"device must be a list, of one process each, not {device!r}; this encoder runs on {encoder.device}, and "
            "another one is made with device=..."
        )
    with encoder.start_multi_process_pool(device) as made:
        yield made


def default_devices() -> list[str]:
    """Give every CUDA GPU; without any, the processor as often as it has cores, at most four times."""
    import torch

    return [f"cuda:{at}" for at in range(torch.cuda.device_count())] or ["cpu"] * min(4, _processors())


def _start(
    encoder_class: type[PromptedEncoder],
    model: str,
    arguments: dict[str, Any],
    devices: "Queue[str]",
    threads: int | None,
) -> None:
    global _encoder
    import torch

    device = devices.get()
    if device == "cpu" and threads is not None:
        torch.set_num_threads(threads)
    _encoder = encoder_class(model, device=device, **arguments)


def _run(method: str, items: list[Any], options: dict[str, Any]) -> Any:
    return getattr(_encoder, method)(items, **options)


def _processors() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
