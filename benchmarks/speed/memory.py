"""Measure the memory that encoding takes beside the model, in a fresh process, sampled by a thread."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from benchmarks.speed.measure import Job, Side, memory

LONGEST = 512
"""Maximum sequence length of BERT models, in tokens."""
_WORDS = ("water", "energy", "light", "market", "price", "cell", "wave", "fire", "heat", "stock", "house", "river")


class Growth(TypedDict):
    """Largest growth of anonymous memory (`growth_mb`) over that of the loaded model (`model_mb`)."""

    what: str
    growth_mb: float
    model_mb: float
    seconds: float


Work = tuple[Callable[[], Any], str]
"""The call to measure, with its model loaded and warmed up, and its description."""


def measure(make: Callable[..., Work], *arguments: Any, threads: int | None = None) -> Growth:
    """Run the call that `make` returns in a separate process; return how much memory it took. Errors as in `Side`."""
    with Side(_sampled, make, *arguments, threads=threads) as side:
        side.run()
        growth: Growth = side.finish()[0]
        return growth


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
    """Encode texts of `LONGEST` tokens as term weights, in default batches or in one batch of `token_budget` tokens."""
    from retrieve.encoders import SparseEncoder

    encoder = SparseEncoder(model, dtype=dtype, device="cpu", max_length=LONGEST)
    encoder.encode(["wave 1", "light 2"])
    texts = longest_texts(max(16, token_budget // LONGEST))
    budget = token_budget or None
    what = f"{len(texts)} texts of {LONGEST} tokens, token budget {budget or 'default'}, {_name(encoder)}"
    return (lambda: encoder.encode(texts, token_budget=budget)), what


def longest_texts(count: int) -> list[str]:
    """Return different texts of at least `LONGEST` tokens."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(_WORDS, LONGEST)) for _ in range(count)]


def _name(encoder: Any) -> str:
    return f"{type(encoder).__name__} in {str(encoder.dtype).removeprefix('torch.')}"


def _sampled(make: Callable[..., Work], *arguments: Any) -> Job:
    work, what = make(*arguments)

    def run() -> Growth:
        before, done = memory("RssAnon"), threading.Event()
        largest = before

        def sample() -> None:
            nonlocal largest
            while not done.wait(0.005):
                largest = max(largest, memory("RssAnon"))

        sampler = threading.Thread(target=sample)
        sampler.start()
        start = time.perf_counter()
        try:
            work()
        finally:
            done.set()
            sampler.join()
        seconds = time.perf_counter() - start
        return Growth(what=what, growth_mb=largest - before, model_mb=before, seconds=seconds)

    return run, lambda growth: growth
