"""The encode engine: cut texts into tokens once, plan batches, run them, say which texts each result is for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from retrieve.encoders.batching import STEP, Tokens, fill_batches, interleave, plan_batches, round_widths
from retrieve.encoders.kernels.memory import release_freed_memory
from retrieve.encoders.kernels.streams import count_streams, parallel_map

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

    from retrieve.encoders.modules.module import Features, InputModule, Module

TEXTS_PER_CHUNK = 8192
"""Texts that are sorted by length together: what is held in memory at a time."""
BATCHES_PER_RELEASE = 48
"""Full batches after which the heap is in pieces worth giving back: after 8 takes 2% of the time and saves 26 MB."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a batch may hold and what it costs to start one, both in tokens, and the most texts in it.

    `max_tokens` is the most that a caller may ask for: more are taken as that many. With a `step` above 1 batches are
    of few shapes: of a multiple of so many tokens, where that can be had.
    """

    token_budget: int
    batch_cost: int
    max_rows: int | None = None
    max_tokens: int | None = None
    step: int = 1


class Chunk:
    """Some consecutive texts, cut into tokens, each different one once.

    Parameters
    ----------
    tokens
        Of the different texts.
    inverse
        int64 [texts], which of the different texts each one is.
    settings
        Features that every batch starts with.
    """

    def __init__(
        self,
        engine: "Engine",
        tokens: Tokens,
        inverse: NDArray[np.int64],
        costs: Costs,
        bar: "tqdm",
        settings: Mapping[str, Any],
    ) -> None:
        self.tokens, self.inverse, self.settings = tokens, inverse, settings
        self._engine, self._costs, self._bar = engine, costs, bar

    def __len__(self) -> int:
        return len(self.tokens.lengths)

    def run(self) -> "Iterator[tuple[NDArray[np.int64], Features]]":
        """Run the network batch by batch: the numbers of a batch's different texts, and what came out for them."""
        shares = np.bincount(self.inverse, minlength=len(self))
        widths, batches = self._engine.plan(self.tokens, self._costs)

        def run(rows: NDArray[np.int64]) -> "tuple[NDArray[np.int64], Features]":
            return rows, self._engine.forward(self.tokens, rows, self.settings, int(widths[rows].max()))

        several = parallel_map if self._engine.streams else map
        for rows, features in several(run, interleave(batches)):
            yield rows, features
            self._bar.update(int(shares[rows].sum()))


class Engine:
    """Runs a network over any number of texts, or pairs of texts.

    Memory is bounded by `TEXTS_PER_CHUNK` texts and one batch. Equal texts within that many are run once. The order of
    the texts and the batches they fall into change results by no more than rounding.

    Parameters
    ----------
    network
        Modules one after another, the first an `InputModule`.
    device
        Where it runs.
    costs
        How large its batches are.
    """

    def __init__(self, network: "torch.nn.Sequential", device: "torch.device", costs: Costs) -> None:
        self.network, self.device, self.costs = network, device, costs
        self.modules: list[Module] = list(network)  # type: ignore[arg-type]
        self._tokens_since_release = 0
        self.input: InputModule = network[0]  # type: ignore[assignment]

    def chunks(
        self,
        texts: Iterable[Any],
        *,
        pairs: bool = False,
        prompt: str = "",
        chunk_size: int = TEXTS_PER_CHUNK,
        token_budget: int | None = None,
        show_progress: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Chunk]:
        """Cut `texts` (or `pairs` of them) into chunks of `chunk_size`, in order; run each before asking for the next.

        Modules find `settings` among the features.

        Raises
        ------
        InputError
            Naming the position of something that is not a text.
        """
        from tqdm import tqdm

        _require_positive("token_budget", token_budget)
        _require_positive("chunk", chunk_size)
        costs = self.costs
        if token_budget is not None:
            costs = replace(costs, token_budget=min(token_budget, costs.max_tokens or token_budget))
        total = len(texts) if isinstance(texts, Sequence) else None
        texts, start = iter(texts), 0
        with tqdm(total=total, unit="text", desc="encoding", disable=not show_progress) as bar:
            while some := list(islice(texts, chunk_size)):
                if pairs:
                    some = [tuple(pair) if isinstance(pair, list) else pair for pair in some]
                _check(some, start, pairs)
                places = {text: place for place, text in enumerate(dict.fromkeys(some))}
                tokens = self._tokenize(list(places), prompt, some, start)
                inverse = np.fromiter((places[text] for text in some), np.int64, count=len(some))
                yield Chunk(self, tokens, inverse, costs, bar, settings or {})
                start += len(some)

    @property
    def streams(self) -> bool:
        """Whether batches run side by side: on a processor, through modules that several threads may run at once."""
        return self.device.type == "cpu" and all(module.reentrant for module in self.modules)

    def plan(self, tokens: Tokens, costs: Costs) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Give how many columns each text takes in a batch, and the texts of each batch, longest batches first."""
        if self.input.unpadded:
            return tokens.lengths, fill_batches(tokens.lengths, costs.token_budget, costs.max_rows)
        widths, most = tokens.lengths, self.input.max_length
        if costs.step > 1 and most is not None and not tokens.pad_left:  # Padding on the left moves what is read.
            widths = round_widths(widths, most)
        return widths, plan_batches(
            widths,
            token_budget=costs.token_budget,
            batch_cost=costs.batch_cost,
            max_rows=costs.max_rows,
            step=costs.step,
        )

    def forward(
        self,
        tokens: Tokens,
        rows: NDArray[np.int64],
        settings: Mapping[str, Any] | None = None,
        width: int | None = None,
    ) -> "Features":
        """Run the network on these texts as one batch, as wide as the longest or wider."""
        import torch

        features: Features = dict(settings or {}) | {
            name: torch.from_numpy(array).to(self.device) for name, array in tokens.padded(rows, width).items()
        }
        features["prompt_length"] = tokens.prompt_length
        self._tokens_since_release += features["input_ids"].numel()
        with torch.inference_mode():
            output: Features = self.network(features)
        if self._tokens_since_release >= BATCHES_PER_RELEASE * self.costs.token_budget:
            self._tokens_since_release = 0
            release_freed_memory()
        return output

    def _tokenize(self, different: list[Any], prompt: str, some: list[Any], start: int) -> Tokens:
        try:
            return self.input.tokenize(different, prompt)
        except (UnicodeEncodeError, TypeError) as error:  # tokenizers raises either
            at = next((start + place for place, text in enumerate(some) if not _encodable(text)), None)
            if at is None:
                raise
            raise InputError(f"text number {at} (from 0) holds half a surrogate pair, which is no character") from error


def default_device(device: "str | torch.device | None") -> "torch.device":
    """Give the device asked for, else a CUDA GPU, Apple's, or the processor, whichever is there first."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: {str(error).splitlines()[0]}") from error


def default_costs(
    device: "torch.device", width: int, max_rows: int | None = None, max_tokens: int | None = None
) -> Costs:
    """Give the batch sizes for a kind of device and numbers of `width` bytes.

    On a processor 1k to 32k tokens for each thread of a stream are within 4% of each other, so memory decides: 1k in
    float32, and 3k in bfloat16, where a token takes half the memory and half the time (2% less time than 2k). Starting
    a batch costs as much as some 64 tokens. A GPU needs more tokens to be busy, and its start-up weighs more; there
    `max_tokens` does not hold.
    """
    import torch

    if device.type != "cpu":
        return Costs(65536, 4096, max_rows)
    threads = torch.get_num_threads()
    streams = count_streams(threads)
    tokens = (1024 if width > 2 else 3072) * (threads // streams)
    most = None if max_tokens is None else max(1, max_tokens // streams)
    return Costs(min(tokens, most or tokens), 64, max_rows, most, STEP)


def _check(some: list[Any], start: int, pairs: bool) -> None:
    if set(map(type, some)) == {str} and not pairs:
        return
    for at, text in enumerate(some, start):
        if pairs and not (isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)):
            raise InputError(f"pair number {at} (from 0) must be two strings, not {repr(text)[:80]}")
        if not pairs and not isinstance(text, str):
            raise InputError(f"text number {at} (from 0) must be a string, not {repr(text)[:80]}")


def _encodable(text: Any) -> bool:
    try:
        "".join(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise InputError(f"{name} must be at least 1, not {value}")
