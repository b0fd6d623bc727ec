"""Where the tokens of a batch's texts are, for layers that run over concatenated texts instead of padded rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieve.encoders.batching import STEP
from retrieve.encoders.kernels.transfers import to_device

ROUND_FROM = 512
"""On a CPU, batches of at least this many tokens are filled up to a multiple of `STEP`."""
SMALL_STEP = 4
"""Smaller ones are filled up to a multiple of this: a query of a new length would wait for new kernels (5 ms)."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Positions of the tokens of a batch's texts, shorter texts first.

    Parameters
    ----------
    positions
        int64 [tokens], the position of each token in the flattened rows; some are repeated at the end as filling.
        None if the rows stay as they are.
    tokens
        Number of tokens without the filling.
    groups
        Adjacent texts of equal length: index of the first token, number of texts, length.
    width
        Number of tokens of a padded row.
    offsets
        On a GPU int32 [texts + 1], the first token of each text that has any; otherwise None.
    mask
        bool [1, 1, 1, tokens], the attended tokens of a single text that stays padded; None otherwise.
    cache
        What layers computed for this batch and share.
    """

    positions: Tensor | None
    tokens: int
    groups: list[tuple[int, int, int]]
    width: int
    offsets: Tensor | None = None
    mask: Tensor | None = None
    cache: dict[Any, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, attended: Tensor) -> Self:
        """Create the layout of the attended tokens, bool [texts, width] on a CPU."""
        lengths, order = attended.sum(dim=1).sort(stable=True)
        rows, columns = attended[order].nonzero(as_tuple=True)
        positions = order[rows] * attended.shape[1] + columns
        distinct, counts = (column.tolist() for column in lengths.unique_consecutive(return_counts=True))
        return cls(_filled(positions), len(positions), _groups(distinct, counts), attended.shape[1])

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.int64], width: int, device: torch.device) -> Self:
        """Create the layout of rows of `width` tokens that each begin with a text, without waiting for a GPU."""
        if len(lengths) == 1 and device.type == "cpu":
            tokens = int(lengths[0])
            return cls(_filled(torch.arange(tokens)), tokens, [(0, 1, tokens)] if tokens else [], width)
        order = np.argsort(lengths, kind="stable")
        ascending = lengths[order]
        ends = np.cumsum(ascending)
        tokens = int(ends[-1]) if len(ends) else 0
        positions = np.repeat(order * width - (ends - ascending), ascending) + np.arange(tokens)
        distinct, counts = (column.tolist() for column in np.unique(ascending, return_counts=True))
        groups = _groups(distinct, counts)
        if device.type == "cpu":
            return cls(_filled(torch.from_numpy(positions)), tokens, groups, width)
        offsets = np.concatenate(([0], ends[ascending > 0])).astype(np.int32)
        return cls(to_device(positions, device), tokens, groups, width, to_device(offsets, device))

    @classmethod
    def of_row(cls, attended: Tensor) -> Self:
        """Create the layout of a single row whose padding is computed, but not attended to; bool [width]."""
        width = len(attended)
        return cls(None, width, [(0, 1, width)], width, mask=attended[None, None, None])

    @property
    def device(self) -> torch.device:
        """Device of the tokens."""
        tensor = self.mask if self.positions is None else self.positions
        assert tensor is not None
        return tensor.device

    @property
    def columns(self) -> Tensor:
        """Column of each token in its row, int64 [tokens with filling]."""
        if self.positions is None:
            return torch.arange(self.width, device=self.device)
        return self.positions % self.width

    @property
    def longest(self) -> int:
        """Number of tokens of the longest text."""
        return max((length for _, _, length in self.groups), default=0)

    def places(self, column: int, shortest: int) -> Tensor:
        """Return the place of one token, 0 or -1, of each text of at least `shortest` tokens; int64, ascending."""
        name = "places", column, shortest
        if name not in self.cache:
            starts = [
                start + column % length + length * np.arange(count)
                for start, count, length in self.groups
                if length >= shortest
            ]
            places = np.concatenate(starts) if starts else np.zeros(0, np.int64)
            self.cache[name] = torch.from_numpy(places).to(self.device)
        return self.cache[name]

    def gather(self, rows: Tensor) -> Tensor:
        """Return the tokens [tokens with filling, …] of padded rows [texts, width, …]."""
        flat = rows.flatten(0, 1)
        return flat if self.positions is None else flat[self.positions]

    def scatter(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        """Put tokens back into padded rows of a shape [texts, width, …]; padding is 0."""
        if self.positions is None:
            return tokens.view(*shape)
        rows = tokens.new_zeros((shape[0] * shape[1], *shape[2:]))
        rows[self.positions[: self.tokens]] = tokens[: self.tokens]
        return rows.view(*shape)

    def padding_mask(self, hidden: Tensor) -> Tensor:
        """Return the mask to add to the attention scores of padded rows: [texts, 1, 1, width] for [texts, width, …]."""
        if self.mask is not None:
            attended = self.mask
        else:
            assert self.positions is not None
            attended = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
            attended.view(-1)[self.positions] = True
            attended = attended[:, None, None]
        lowest = torch.finfo(hidden.dtype).min / 2  # Finite in bfloat16 too, which autocast converts it to.
        return torch.zeros_like(attended, dtype=hidden.dtype).masked_fill(~attended, lowest)


_PADDED: ContextVar[bool] = ContextVar("padded", default=False)
_LAYOUT: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def padded() -> Iterator[None]:
    """Compute padding in this block and thread: there, tokens without attention have vectors too."""
    token = _PADDED.set(True)
    try:
        yield
    finally:
        _PADDED.reset(token)


@contextmanager
def concatenated(layout: Layout) -> Iterator[None]:
    """Set the layout of the batch that layers run on in this block and thread, so that they need no mask."""
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)


def is_padded() -> bool:
    """Return whether this runs in a block of `padded`."""
    return _PADDED.get()


def given_layout() -> Layout | None:
    """Return the layout of the block of `concatenated` that this runs in; None outside of one."""
    return _LAYOUT.get()


def _filled(positions: Tensor) -> Tensor:
    tokens = len(positions)
    filling = -tokens % (STEP if tokens >= ROUND_FROM else SMALL_STEP)
    return torch.cat((positions, positions[:filling])) if 0 < filling <= tokens else positions


def _groups(distinct: list[int], counts: list[int]) -> list[tuple[int, int, int]]:
    starts = accumulate((count * length for count, length in zip(counts, distinct, strict=True)), initial=0)
    return [group for group in zip(starts, counts, distinct, strict=False) if group[2]]
