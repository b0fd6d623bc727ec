"""Batches of texts of unlike length: which go together, in what order, and how their tokens stand in one array."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_GOLDEN = 0.6180339887498949
_EXACT_WIDTH, _WIDTH_STEP = 64, 16
STEP = 32
"""On a processor batches are of a multiple of so many tokens, where that can be had: oneDNN compiles kernels for every
number of tokens that a layer is given, and keeps them, half a megabyte for each layer's shape, 300 MB for MiniLM."""
MAX_PADDING = 2
"""How many times a batch's tokens its rows may have places, where padding is not computed: they take memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The token ids of several texts, one after another without padding.

    Parameters
    ----------
    ids
        int32 [tokens]; text ``i`` owns ``offsets[i]:offsets[i + 1]``.
    offsets
        int64 [texts + 1].
    type_ids
        int32 [tokens], which part of a pair a token belongs to; None when the model takes none.
    pad_id
        The id that fills a row up.
    pad_left
        Fill up on the left, as decoders want it.
    prompt_length
        How many leading tokens of each text are the prompt; 0 when none was given.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    type_ids: NDArray[np.int32] | None = None
    pad_id: int = 0
    pad_left: bool = False
    prompt_length: int = 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each text."""
        return np.diff(self.offsets)

    def places(self, rows: NDArray[np.int64], width: int | None = None) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Lay these texts out in rows: where tokens stand (bool [rows, width]), and which token stands there.

        They are as wide as the longest, unless a larger width is given.
        """
        lengths = self.lengths[rows]
        columns = np.arange(width or max(1, int(lengths.max(initial=0))))
        first = (len(columns) - lengths if self.pad_left else np.zeros_like(lengths))[:, None]
        mask = (columns >= first) & (columns < first + lengths[:, None])
        return mask, (self.offsets[rows][:, None] + columns - first)[mask]

    def padded(self, rows: NDArray[np.int64], width: int | None = None) -> dict[str, NDArray[np.int64]]:
        """Give these texts' tokens as int64 [rows, width] arrays, under the names that models take them by."""
        mask, sources = self.places(rows, width)
        features = {
            "input_ids": np.full(mask.shape, self.pad_id, dtype=np.int64),
            "attention_mask": mask.astype(np.int64),
        }
        features["input_ids"][mask] = self.ids[sources]
        if self.type_ids is not None:
            features["token_type_ids"] = np.zeros(mask.shape, dtype=np.int64)
            features["token_type_ids"][mask] = self.type_ids[sources]
        return features


def flatten_rows(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give rows of token ids one after another, and their offsets [rows + 1], as `Tokens` has them."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.fromiter(chain.from_iterable(rows), np.int32, count=int(offsets[-1])), offsets


def round_widths(lengths: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Round lengths above 64 up to multiples of 16, but none beyond `most`: few widths make few shapes of batches.

    What is computed in vain costs no more time than attention over such widths saves.
    """
    rounded = np.minimum(-(-lengths // _WIDTH_STEP) * _WIDTH_STEP, most)
    return np.where(lengths > _EXACT_WIDTH, np.maximum(lengths, rounded), lengths)


def plan_batches(
    lengths: NDArray[np.integer], *, token_budget: int, batch_cost: int = 64, max_rows: int | None = None, step: int = 1
) -> list[NDArray[np.int64]]:
    """Divide texts into batches so that the least is computed in vain.

    A batch costs its padded tokens (rows times its longest text) plus `batch_cost`. Texts stand in order of length
    and are cut where the sum of the costs is least; a dynamic programme over the distinct lengths finds the optimum
    (a few milliseconds for thousands of texts). Filling every batch up to the budget instead pads a hundred
    candidates of one query to twice their tokens.

    Parameters
    ----------
    lengths
        Tokens of each text, [texts].
    token_budget
        The most padded tokens in a batch; a longer text goes alone.
    batch_cost
        What starting one more batch costs, in tokens.
    max_rows
        The most texts in a batch.
    step
        A batch has padded tokens to a multiple of this, where there are texts enough.

    Returns
    -------
    list of int64 arrays
        The texts of each batch by number, longest batches first.
    """
    if not len(lengths):
        return []
    widths, counts = np.unique(lengths, return_counts=True)
    rows = np.maximum(1, token_budget // np.maximum(widths, 1))
    if max_rows is not None:
        rows = np.minimum(rows, max_rows)
    whole = step // np.gcd(np.maximum(widths, 1), step)
    whole = np.where(rows >= whole, whole, 1)
    rows -= rows % whole
    cuts = _cheapest_cuts(np.maximum(widths, 1), counts, rows, batch_cost)
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(counts)
    batches = []
    for low, high in pairwise(cuts):
        group = order[ends[low - 1] if low else 0 : ends[high - 1]]
        # Equal shares: a full batch and a crumb cost the same padding but one poor matrix product.
        number = -(-len(group) // rows[high - 1])
        shares = -(-np.arange(1, number) * len(group) // (number * whole[high - 1])) * whole[high - 1]
        batches += np.split(group, shares)
    return batches[::-1]


def fill_batches(
    lengths: NDArray[np.integer], token_budget: int, max_rows: int | None = None
) -> list[NDArray[np.int64]]:
    """Divide texts into batches of about equally many tokens, where padding costs nothing but the place it takes.

    Texts stand in order of length. A batch has at most `token_budget` tokens, `MAX_PADDING` times as many with
    padding, and `max_rows` texts; a longer text goes alone.

    Returns
    -------
    list of int64 arrays
        The texts of each batch by number, longest batches first.
    """
    order = np.argsort(lengths, kind="stable")
    ascending = np.asarray(lengths)[order]
    ends = np.cumsum(ascending)
    batches, start, done = [], 0, 0
    while start < len(order):
        left = int(ends[-1]) - done
        share = -(-left // max(1, -(-left // token_budget)))
        stop = int(np.searchsorted(ends, done + max(share, 1), side="right"))
        padded = np.arange(1, stop - start + 1) * ascending[start:stop]
        stop = start + int(np.searchsorted(padded, MAX_PADDING * token_budget, side="right"))
        stop = max(start + 1, stop if max_rows is None else min(stop, start + max_rows))
        batches.append(order[start:stop])
        start, done = stop, int(ends[stop - 1])
    return batches[::-1]


def _cheapest_cuts(
    widths: NDArray[np.int64], counts: NDArray[np.int64], rows: NDArray[np.int64], batch_cost: int
) -> list[int]:
    """Cut ascending `widths` into runs of least total cost; returns the cuts, from 0 to their number."""
    below = np.concatenate(([0], np.cumsum(counts)))
    cost = np.zeros(len(widths) + 1)
    start = np.zeros(len(widths) + 1, dtype=np.int64)
    for high in range(1, len(widths) + 1):
        texts = below[high] - below[:high]
        total = cost[:high] + texts * widths[high - 1] + batch_cost * -(-texts // rows[high - 1])
        start[high] = total.argmin()
        cost[high] = total[start[high]]
    cuts = [len(widths)]
    while cuts[-1]:
        cuts.append(int(start[cuts[-1]]))
    return cuts[::-1]


def interleave(batches: list[T]) -> list[T]:
    """Order batches so that any stretch of them is a fair sample, the first one staying first.

    With the longest first throughout, a progress bar counts few texts at the start and promises too long an end.
    The first batch is the largest: what does not fit into memory fails at once.
    """
    places = np.arange(len(batches)) * _GOLDEN % 1.0
    return [batches[place] for place in np.argsort(places, kind="stable")]
