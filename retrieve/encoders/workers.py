"""Parallel encoding in worker processes, each with its own copy of the encoder on a CPU share or a GPU."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse, vstack

from indexing.errors import InputError, ModelError
from indexing.inputs import listed, whole_number
from indexing.progress import progress
from indexing.resources import Closing, Lifetime
from indexing.token_vectors import TokenVectors

if TYPE_CHECKING:
    import torch

CHUNK_SIZE = 2048
"""Texts per worker task: enough to batch well, few enough that all workers finish together."""

_encoder: Any = None
"""The encoder of a worker process."""


class PoolableEncoder(Protocol):
    """Interface of an encoder that can start worker processes with copies of itself."""

    device: "torch.device"

    def start_multi_process_pool(self, target_devices: Sequence[str] | None = None) -> "EncoderWorkers":
        """Load copies of this encoder in other processes."""


class EncoderWorkers(Closing):
    """Pool of worker processes that each hold a copy of an encoder; use it in a ``with`` block.

    The processes are spawned, not forked, so they can use a GPU and the caller may be running a Java virtual machine.
    A script that creates a pool therefore needs ``if __name__ == "__main__":``. Results come in input order and equal
    those of one process up to rounding, because texts are batched differently. For an encoder that is already loaded,
    call its `start_multi_process_pool` and pass the result to `encode` or `predict` as ``pool``.

    Parameters
    ----------
    encoder_class, model, arguments
        Each process creates ``encoder_class(model, device=..., **arguments)``.
    devices
        The device of each process: ``["cuda:0", "cuda:1"]``, or ``["cpu"] * 4``. Processes on "cpu" divide the CPU's
        threads among themselves.

    Raises
    ------
    InputError
        If `devices` is empty or a string.

    Examples
    --------
    >>> with EncoderWorkers(DenseEncoder, path, devices=["cuda:0", "cuda:1"]) as workers:  # doctest: +SKIP
    ...     vectors = workers.encode(texts, task="document")
    """

    def __init__(
        self, encoder_class: Callable[..., Any], model: str | Path, *, devices: Sequence[str], **arguments: Any
    ) -> None:
        if not devices or isinstance(devices, str):
            raise InputError(f"devices must name at least one device in a list, not {devices!r}")
        context = get_context("spawn")
        queue = context.Queue()
        for device in devices:
            queue.put(str(device))
        cpu_workers = [str(device) for device in devices].count("cpu")
        threads = max(1, _cpu_count() // cpu_workers) if cpu_workers else None
        self._count = len(devices)
        self._lifetime = Lifetime("pool of encoding processes")
        self._pool = ProcessPoolExecutor(
            self._count, context, _start_worker, (encoder_class, str(model), arguments, queue, threads)
        )

    def encode(self, texts: Iterable[str], *, chunk: int | None = None, **options: Any) -> Any:
        """Encode texts; `options` are those of the encoder's `encode` except `out`, `pool` and `device`.

        Returns
        -------
        array [texts, dim]; csr_matrix [texts, vocabulary] or TokenVectors from a sparse or multi-vector encoder
        """
        blocks = list(self.encode_stream(texts, chunk=chunk, **options))
        if not blocks:
            return self._submit("encode", [], options).result()
        if isinstance(blocks[0], TokenVectors):
            return TokenVectors.join(blocks)
        return csr_matrix(vstack(blocks, format="csr")) if issparse(blocks[0]) else np.concatenate(blocks)

    def predict(self, pairs: Iterable[tuple[str, str]], *, chunk: int | None = None, **options: Any) -> Any:
        """Score pairs of texts; `options` are those of `CrossEncoder.predict` except `pool` and `device`.

        Returns
        -------
        float32 [pairs], or [pairs, labels]
        """
        blocks = list(self.predict_stream(pairs, chunk=chunk, **options))
        return np.concatenate(blocks) if blocks else self._submit("predict", [], options).result()

    def encode_stream(
        self, texts: Iterable[str], *, chunk: int | None = None, show_progress: bool = False, **options: Any
    ) -> Iterator[Any]:
        """Encode a stream of texts, yielding blocks in input order; at most two blocks per process are in flight.

        Parameters
        ----------
        texts, options
            See the encoder's `encode`.
        chunk
            Texts per block; by default 2,048, or fewer if there are not enough texts for all processes.
        show_progress
            Show a progress bar on stderr, counted in texts.

        Raises
        ------
        InputError
            As the encoder's `encode`, with positions counted from the start of the block; and for precision "int8" or
            "uint8" without `ranges`, which would depend on all blocks.
        ModelError
            If a process ended because it ran out of memory or could not load the encoder.
        """
        if options.get("precision") in ("int8", "uint8") and options.get("ranges") is None:
            raise InputError(f"{options['precision']} needs ranges in a pool: a process sees only part of the vectors")
        yield from self._stream("encode", texts, chunk, show_progress, options)

    def predict_stream(
        self, pairs: Iterable[tuple[str, str]], *, chunk: int | None = None, show_progress: bool = False, **options: Any
    ) -> Iterator[NDArray[np.float32]]:
        """Score a stream of pairs, yielding blocks as `encode_stream` does."""
        yield from self._stream("predict", pairs, chunk, show_progress, options)

    def _stream(
        self, method: str, items: Iterable[Any], chunk: int | None, show_progress: bool, options: dict[str, Any]
    ) -> Iterator[Any]:
        chunk = None if chunk is None else whole_number(chunk, "chunk")
        items = listed(items, "texts") if method == "encode" else listed(items, "pairs", "pairs of strings")
        total = len(items) if isinstance(items, Sized) else None
        # About four chunks per process, so that all processes finish together.
        chunk = chunk or (CHUNK_SIZE if total is None else min(CHUNK_SIZE, max(32, -(-total // (4 * self._count)))))
        items = iter(items)
        pending: deque[Future[Any]] = deque()
        try:
            with progress(total=total, unit="text", desc="encoding", disable=not show_progress) as bar:
                while True:
                    while len(pending) < 2 * self._count and (batch := list(islice(items, chunk))):
                        pending.append(self._submit(method, batch, options))
                    if not pending:
                        return
                    block = pending.popleft().result()
                    bar.update(block.texts if isinstance(block, TokenVectors) else block.shape[0])
                    yield block
        except BrokenProcessPool as error:
            raise ModelError(
                "an encoding process has ended: it could not load the encoder or ran out of memory; see its stderr"
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        self._lifetime.closed = True
        if self._lifetime.forked:
            return
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, method: str, items: list[Any], options: dict[str, Any]) -> Future[Any]:
        try:
            return self._lifetime.submit(self._pool, _call_encoder, method, items, options)
        except (PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the encoder cannot be sent to another process ({error}): an activation must be a torch module or an "
                "importable function"
            ) from error


@contextmanager
def worker_pool(
    encoder: PoolableEncoder, pool: EncoderWorkers | None, device: Sequence[str] | None
) -> Iterator[EncoderWorkers]:
    """Use `pool`, or start a pool on the devices in `device` and close it at the end of the block.

    Raises
    ------
    InputError
        If both are given, or `device` is not a list.
    """
    if pool is not None and device is not None:
        raise InputError("give pool or device, not both: a pool already has its devices")
    if pool is not None:
        yield pool
        return
    if isinstance(device, str) or not device:
        raise InputError(
            f"device must be a list with one device per process, not {device!r}; this encoder runs on "
            f"{encoder.device}, and device=... in its constructor chooses another one"
        )
    with encoder.start_multi_process_pool(device) as temporary:
        yield temporary


def default_devices() -> list[str]:
    """Return all CUDA GPUs, or without any one "cpu" per core, at most four."""
    import torch

    return [f"cuda:{at}" for at in range(torch.cuda.device_count())] or ["cpu"] * min(4, _cpu_count())


def _start_worker(
    encoder_class: Callable[..., Any],
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


def _call_encoder(method: str, items: list[Any], options: dict[str, Any]) -> Any:
    return getattr(_encoder, method)(items, **options)


def _cpu_count() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
