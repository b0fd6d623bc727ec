"""What encoding takes in memory beside the model: in a fresh process, watched from a thread of its own."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from benchmarks.speed.measure import memory
from indexing.errors import RetrieveError

LONGEST = 512
"""Tokens of the longest texts that models of BERT's kind read."""
_WORDS = ("water", "energy", "light", "market", "price", "cell", "wave", "fire", "heat", "stock", "house", "river")


class Growth(TypedDict):
    """By how much anonymous memory grew over the loaded model's, at the most."""

    what: str
    growth_mb: float
    model_mb: float
    seconds: float


Work = tuple[Callable[[], Any], str]
"""What is run, loaded and warmed up, and what it is."""


def measured(make: Callable[..., Work], *arguments: Any, threads: int | None = None) -> Growth:
    """Run what `make` makes in a process of its own, and give how much memory it took.

    Raises
    ------
    RetrieveError
        Of that process, as it was.
    RuntimeError
        When it fails in any other way.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        found: Growth | Exception = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process that was measured died (exit status {process.exitcode})") from None
    process.join()
    if isinstance(found, Exception):
        raise found
    return found


def dense_into_memmap(model: str, dtype: str, path: str, count: int) -> Work:
    """Encode `count` short texts from a generator into a memory-mapped file."""
    from retrieve.encoders import DenseEncoder

    encoder = DenseEncoder(model, dtype=dtype, device="cpu")
    encoder.encode(["wave 1", "light 2"])

    def run() -> None:
        out = np.lib.format.open_memmap(path, "w+", np.float32, (count, encoder.dimension))
        encoder.encode((f"the {_WORDS[at % len(_WORDS)]} of house number {at}" for at in range(count)), out=out)
        if not np.abs(out[-1]).max() > 0:
            raise RuntimeError("the last vector was not written")

    return run, f"{count} short texts from a generator into a memmap, {_name(encoder)}"


def sparse_batches(model: str, dtype: str, token_budget: int) -> Work:
    """Encode texts of `LONGEST` tokens as term weights: two batches of the default size, or one as large as asked."""
    from retrieve.encoders import SparseEncoder

    encoder = SparseEncoder(model, dtype=dtype, device="cpu", max_length=LONGEST)
    encoder.encode(["wave 1", "light 2"])
    texts = longest_texts(max(16, token_budget // LONGEST))
    budget = token_budget or None
    what = f"{len(texts)} texts of {LONGEST} tokens, token budget {budget or 'default'}, {_name(encoder)}"
    return (lambda: encoder.encode(texts, token_budget=budget)), what


def longest_texts(count: int) -> list[str]:
    """Give different texts that are cut at `LONGEST` tokens."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(_WORDS, LONGEST)) for _ in range(count)]


def _name(encoder: Any) -> str:
    return f"{type(encoder).__name__} in {str(encoder.dtype).removeprefix('torch.')}"


def _serve(pipe: Any, make: Callable[..., Work], arguments: tuple[Any, ...], threads: int | None) -> None:
    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        run, what = make(*arguments)
        before, most, done = memory("RssAnon"), [0.0], threading.Event()

        def watch() -> None:
            while not done.wait(0.005):
                most[0] = max(most[0], memory("RssAnon"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        try:
            run()
        finally:
            done.set()
            watcher.join()
        seconds = time.perf_counter() - start
        pipe.send(Growth(what=what, growth_mb=max(0.0, most[0] - before), model_mb=before, seconds=seconds))
    except RetrieveError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
