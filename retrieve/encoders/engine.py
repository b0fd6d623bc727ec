"""Encode engine: tokenize texts once, plan batches, run them, and map the results back to the texts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ModelError
from indexing.inputs import listed, whole_number
from indexing.progress import Progress, progress
from retrieve.encoders.batching import STEP, Tokens, fill_batches, interleave, plan_batches, round_widths
from retrieve.encoders.kernels.memory import release_freed_memory
from retrieve.encoders.kernels.streams import count_streams, map_ahead, parallel_map, threads_for
from retrieve.encoders.kernels.transfers import finished, to_device

if TYPE_CHECKING:
    import torch

    from retrieve.encoders.modules.module import Features, InputModule, Module

R = TypeVar("R")

TEXTS_PER_CHUNK = 8192
"""Texts that are sorted by length together, and so held in memory at a time."""
TEXTS_AHEAD = 4096
"""The same on a GPU: while it runs a chunk, the processor tokenizes the next one (half as many are a fifth slower)."""
BATCHES_PER_RELEASE = 48
"""Full batches between releases of freed memory; 8 would save 26 MB more, but take 2% of the time."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Maximum tokens and texts (`max_rows`) in a batch, and the cost of starting one, in tokens.

    `max_tokens` limits the `token_budget` that a caller may ask for. With a `step` above 1, batches have few shapes:
    their tokens are a multiple of it where possible.
    """

    token_budget: int
    batch_cost: int
    max_rows: int | None = None
    max_tokens: int | None = None
    step: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive texts, with each distinct text tokenized once.

    Parameters
    ----------
    tokens
        Tokens of the distinct texts.
    inverse
        int64 [texts], index of each text among the distinct ones.
    settings
        Features added to every batch.
    """

    engine: "Engine"
    tokens: Tokens
    inverse: NDArray[np.int64]
    costs: Costs
    bar: Progress
    settings: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.tokens.lengths)

    def run(self, finish: "Callable[[NDArray[np.int64], Features], R]") -> "Iterator[tuple[NDArray[np.int64], R]]":
        """Run the network batch by batch, yielding the indices of a batch's distinct texts with ``finish(indices, …)``.

        `finish` takes the output features of a batch and returns arrays in the processor's memory. On a GPU it runs
        while the next batch is computed.
        """
        counts = np.bincount(self.inverse, minlength=len(self))
        widths, batches = self.engine.plan(self.tokens, self.costs)

        def run(rows: NDArray[np.int64]) -> "tuple[NDArray[np.int64], Features]":
            return rows, self.engine.forward(self.tokens, rows, self.settings, int(widths[rows].max()))

        map_batches = parallel_map if self.engine.streams else map
        results = map_batches(run, interleave(batches))
        for rows, output in finished(results, lambda result: (result[0], finish(*result)), self.engine.device):
            yield rows, output
            self.bar.update(int(counts[rows].sum()))

    def places(self, batches: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return each text's place in the batches of `run`, joined one after the other; int64 [texts]."""
        places = np.empty(len(self), np.int64)
        places[np.concatenate(batches)] = np.arange(len(self))
        return places[self.inverse]


class Engine:
    """Engine that runs a network over any number of texts or pairs of texts.

    It holds one chunk (by default `TEXTS_PER_CHUNK` texts) and the running batches in memory. Equal texts in a chunk
    are run once. Results depend on the order of the texts and their batches by no more than rounding.

    Parameters
    ----------
    network
        Sequence of modules; the first is an `InputModule`.
    device
        Device to run on.
    costs
        Batch limits.
    """

    def __init__(self, network: "torch.nn.Sequential", device: "torch.device", costs: Costs) -> None:
        import torch

        self.network, self.device, self.costs = network, device, costs
        self.modules: list[Module] = list(network)  # type: ignore[arg-type]
        self._tokens_since_release = 0
        self.input: InputModule = network[0]  # type: ignore[assignment]
        layers = (module for module in network.modules() if isinstance(module, torch.nn.Linear))
        self._weights = sum(layer.weight.numel() for layer in layers)

    def chunks(
        self,
        texts: Iterable[Any],
        *,
        pairs: bool = False,
        prompt: str = "",
        chunk_size: int = TEXTS_PER_CHUNK,
        token_budget: int | None = None,
        show_progress: bool = False,
        task: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Chunk]:
        """Tokenize texts (or with `pairs`, pairs of texts) in chunks of `chunk_size`; run each before the next.

        `task` decides the length of a model with one for queries and one for documents. `settings` are passed to the
        modules among the features.

        Raises
        ------
        InputError
            If an item is not a text; the message has its position.
        """
        chunk_size, costs = whole_number(chunk_size, "chunk"), self.costs
        if token_budget is not None:
            token_budget = whole_number(token_budget, "token_budget")
            costs = replace(costs, token_budget=min(token_budget, costs.max_tokens or token_budget))
        total = len(texts) if isinstance(texts, Sequence) else None
        texts = listed(texts, "pairs", "pairs of strings") if pairs else listed(texts, "texts")
        with progress(total=total, unit="text", desc="encoding", disable=not show_progress) as bar:

            def tokenized(part: tuple[int, list[Any]]) -> Chunk:
                start, chunk = part
                index = {text: at for at, text in enumerate(dict.fromkeys(chunk))}
                tokens = self._tokenize(list(index), prompt, task, chunk, start)
                inverse = np.fromiter((index[text] for text in chunk), np.int64, count=len(chunk))
                return Chunk(self, tokens, inverse, costs, bar, settings or {})

            ahead = self.device.type != "cpu"
            parts = _parts(texts, min(chunk_size, TEXTS_AHEAD) if ahead else chunk_size, pairs)
            yield from map_ahead(tokenized, parts) if ahead else map(tokenized, parts)

    @property
    def streams(self) -> bool:
        """True if batches run in parallel threads: on a CPU, if all modules are reentrant."""
        return self.device.type == "cpu" and all(module.reentrant for module in self.modules)

    def plan(self, tokens: Tokens, costs: Costs) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Return the padded width of each text and the texts of each batch, longest batches first."""
        if self.input.unpadded:
            return tokens.lengths, fill_batches(tokens.lengths, costs.token_budget, costs.max_rows)
        widths, max_length = tokens.lengths, self.input.max_length
        if costs.step > 1 and max_length is not None and not tokens.pad_left:  # Left padding would shift the tokens.
            widths = round_widths(widths, max_length)
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
        """Run the network on the texts `rows` as one batch, padded to the longest text or to `width`."""
        import torch

        features: Features = dict(settings or {}) | {
            name: to_device(array, self.device) for name, array in tokens.padded(rows, self._width(rows, width)).items()
        }
        features["prompt_length"] = tokens.prompt_length
        if tokens.attended is None and not tokens.pad_left:
            features["lengths"] = tokens.lengths[rows]
        self._tokens_since_release += features["input_ids"].numel()
        with torch.inference_mode(), self._threads(features["input_ids"].numel()):
            output: Features = self.network(features)
        if self._tokens_since_release >= BATCHES_PER_RELEASE * self.costs.token_budget:
            self._tokens_since_release = 0
            release_freed_memory()
        return output

    def _width(self, rows: NDArray[np.int64], width: int | None) -> int | None:
        """Return the width of a batch: on a GPU a single text is filled up to one of the widths of CUDA graphs."""
        if self.device.type != "cuda" or width is None or len(rows) != 1 or not self.input.unpadded:
            return width
        from retrieve.encoders.kernels.graphs import graph_width

        return max(width, min(graph_width(width), self.input.max_length or width))

    def _threads(self, tokens: int) -> AbstractContextManager[None]:
        """Return a context in which a small batch on a CPU runs on one thread."""
        return threads_for(tokens * self._weights) if self.device.type == "cpu" else nullcontext()

    def _tokenize(self, distinct: list[Any], prompt: str, task: str | None, chunk: list[Any], start: int) -> Tokens:
        try:
            return self.input.tokenize(distinct, prompt, task)
        except (UnicodeEncodeError, TypeError) as error:  # tokenizers raises either
            at = next((at for at, text in enumerate(chunk, start) if not _encodable(text)), None)
            if at is None:
                raise
            raise InputError(f"text number {at} (from 0) contains half a surrogate pair, not a character") from error


def default_device(device: "str | torch.device | None") -> "torch.device":
    """Return `device`, or by default the first available of a CUDA GPU, an Apple GPU and the CPU."""
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
    """Return the batch limits for a type of device and numbers of `width` bytes.

    On a CPU, 1k to 32k tokens per thread of a stream are within 4% of each other, so memory decides: 1k in float32,
    and 3k in bfloat16, where a token takes half the memory and half the time (2% less time than 2k). Starting a batch
    costs as much as about 64 tokens. A GPU needs more tokens to be busy, and starting a batch costs more: with 32k an
    H100 takes at most 6% more time than with 64k and half the memory. `max_tokens` does not apply there.
    """
    import torch

    if device.type != "cpu":
        return Costs(32768, 4096, max_rows)
    threads = torch.get_num_threads()
    streams = count_streams(threads)
    tokens = (1024 if width > 2 else 3072) * (threads // streams)
    limit = None if max_tokens is None else max(1, max_tokens // streams)
    return Costs(min(tokens, limit or tokens), 64, max_rows, limit, STEP)


def _parts(texts: Iterable[Any], size: int, pairs: bool) -> Iterator[tuple[int, list[Any]]]:
    """Yield up to `size` texts, or pairs as tuples, at a time with the number of the first."""
    texts, start = iter(texts), 0
    while chunk := list(islice(texts, size)):
        if pairs:
            chunk = [tuple(pair) if isinstance(pair, list) else pair for pair in chunk]
        _check_types(chunk, start, pairs)
        yield start, chunk
        start += len(chunk)


def _check_types(chunk: list[Any], start: int, pairs: bool) -> None:
    if set(map(type, chunk)) == {str} and not pairs:
        return
    for at, text in enumerate(chunk, start):
        if pairs and not (isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)):
            raise InputError(f"pair number {at} (from 0) must be two strings, not {repr(text)[:80]}")
        if not pairs and not isinstance(text, str):
            raise InputError(f"text number {at} (from 0) must be a string, not {repr(text)[:80]}")


def check_finite(values: NDArray[Any], model: str) -> None:
    """Raise for a model's output that contains NaN or an infinity.

    Raises
    ------
    ModelError
        Naming the model.
    """
    if not np.isfinite(values).all():
        raise ModelError(
            f"{model} returns NaN or infinite values: its weights are damaged, or too large for this precision "
            '(dtype="float32" has the widest range)'
        )


def _encodable(text: Any) -> bool:
    try:
        "".join(text).encode()
    except UnicodeEncodeError:
        return False
    return True
