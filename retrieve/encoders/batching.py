"""Batches of texts of different lengths: planning, order and padding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_GOLDEN = 0.6180339887498949
_EXACT_WIDTH, _WIDTH_STEP = 64, 16
STEP = 32
"""On a CPU, batches have a multiple of this many tokens where possible. oneDNN compiles and caches a kernel for every
number of tokens a layer is given: half a megabyte per layer shape, 300 MB for MiniLM."""
MAX_PADDING = 2
"""Maximum ratio of padded to real tokens in a batch where padding is not computed: it still takes memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Concatenated token ids of several texts, without padding.

    Parameters
    ----------
    ids
        int32 [tokens]; text ``i`` owns ``offsets[i]:offsets[i + 1]``.
    offsets
        int64 [texts + 1].
    type_ids
        int32 [tokens], the part of a pair that each token belongs to; None if the model does not use it.
    pad_id
        Token id of padding.
    pad_left
        Pad on the left, as decoders need it.
    prompt_length
        Number of leading tokens of each text that are the prompt; 0 without a prompt.
    attended
        int64 [texts], number of leading tokens that the others attend to; None for all.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    type_ids: NDArray[np.int32] | None = None
    pad_id: int = 0
    pad_left: bool = False
    prompt_length: int = 0
    attended: NDArray[np.int64] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text."""
        return np.diff(self.offsets)

    def layout(self, rows: NDArray[np.int64], width: int | None = None) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return the padded layout of the texts `rows`: token mask, bool [rows, width], and index of each token.

        The width is that of the longest text unless a larger one is given.
        """
        lengths = self.lengths[rows]
        columns = np.arange(width or max(1, int(lengths.max(initial=0))))
        first = (len(columns) - lengths if self.pad_left else np.zeros_like(lengths))[:, None]
        mask = (columns >= first) & (columns < first + lengths[:, None])
        return mask, (self.offsets[rows][:, None] + columns - first)[mask]

    def padded(self, rows: NDArray[np.int64], width: int | None = None) -> dict[str, NDArray[np.int64]]:
        """Return the tokens of the texts `rows` as int64 [rows, width] arrays, under the models' argument names."""
        if len(rows) == 1 and self.type_ids is None and self.attended is None:
            ids = self.ids[self.offsets[rows[0]] : self.offsets[rows[0] + 1]]
            if 0 < len(ids) == width:
                return {"input_ids": ids[None].astype(np.int64), "attention_mask": np.ones((1, width), np.int64)}
        mask, sources = self.layout(rows, width)
        features = {
            "input_ids": np.full(mask.shape, self.pad_id, dtype=np.int64),
            "attention_mask": mask.astype(np.int64),
        }
        features["input_ids"][mask] = self.ids[sources]
        if self.type_ids is not None:
            features["token_type_ids"] = np.zeros(mask.shape, dtype=np.int64)
            features["token_type_ids"][mask] = self.type_ids[sources]
        if self.attended is not None:
            attended = np.arange(mask.shape[1]) < self.attended[rows][:, None]
            features["attention_mask"] = (mask & attended).astype(np.int64)
            features["expansion_mask"] = (mask & ~attended).astype(np.int64)
        return features

    def expanded(self, length: int, token: int, *, attend: bool) -> "Tokens":
        """Fill up texts with fewer tokens than `length` by `token`, which others attend to if `attend`."""
        lengths = self.lengths
        offsets = np.concatenate(([0], np.cumsum(np.maximum(lengths, length))))
        ids = np.full(offsets[-1], token, np.int32)
        shift = np.repeat(offsets[:-1] - self.offsets[:-1], lengths)
        ids[np.arange(len(self.ids)) + shift] = self.ids
        return replace(self, ids=ids, offsets=offsets, attended=None if attend else lengths)


def flatten_rows(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Concatenate rows of token ids; return them with their offsets [rows + 1], as `Tokens` holds them."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.fromiter(chain.from_iterable(rows), np.int32, count=int(offsets[-1])), offsets


def round_widths(lengths: NDArray[np.int64], max_width: int) -> NDArray[np.int64]:
    """Round lengths above 64 up to multiples of 16, at most `max_width`, so that batches have few shapes.

    The extra padding costs no more time than attention over such widths saves.
    """
    rounded = np.minimum(-(-lengths // _WIDTH_STEP) * _WIDTH_STEP, max_width)
    return np.where(lengths > _EXACT_WIDTH, np.maximum(lengths, rounded), lengths)


def plan_batches(
    lengths: NDArray[np.integer], *, token_budget: int, batch_cost: int = 64, max_rows: int | None = None, step: int = 1
) -> list[NDArray[np.int64]]:
    """Divide texts into the batches of least total cost.

    A batch costs its padded tokens (rows times its longest text) plus `batch_cost`. The texts are sorted by length,
    and dynamic programming over the distinct lengths finds the optimal cuts (a few milliseconds for thousands of
    texts). Filling every batch up to the budget instead would pad a hundred candidates of one query to twice their
    tokens.

    Parameters
    ----------
    lengths
        Tokens of each text, [texts].
    token_budget
        Maximum padded tokens in a batch; a longer text is a batch of its own.
    batch_cost
        Cost of starting a batch, in tokens.
    max_rows
        Maximum texts in a batch.
    step
        The padded tokens of a batch are a multiple of this where there are enough texts.

    Returns
    -------
    list of int64 arrays
        Indices of each batch's texts, longest batches first.
    """
    if not len(lengths):
        return []
    widths, counts = np.unique(lengths, return_counts=True)
    rows = np.maximum(1, token_budget // np.maximum(widths, 1))
    if max_rows is not None:
        rows = np.minimum(rows, max_rows)
    row_step = step // np.gcd(np.maximum(widths, 1), step)
    row_step = np.where(rows >= row_step, row_step, 1)
    rows -= rows % row_step
    cuts = _cheapest_cuts(np.maximum(widths, 1), counts, rows, batch_cost)
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(counts)
    batches = []
    for low, high in pairwise(cuts):
        group = order[ends[low - 1] if low else 0 : ends[high - 1]]
        # Equal shares: a full batch and a small rest would cost the same padding, but one inefficient matrix product.
        count, multiple = -(-len(group) // rows[high - 1]), row_step[high - 1]
        bounds = -(-np.arange(1, count) * len(group) // (count * multiple)) * multiple
        batches += np.split(group, bounds)
    return batches[::-1]


def fill_batches(
    lengths: NDArray[np.integer], token_budget: int, max_rows: int | None = None
) -> list[NDArray[np.int64]]:
    """Divide texts, sorted by length, into batches of about equally many tokens, where padding only costs memory.

    A batch has at most `token_budget` tokens, `MAX_PADDING` times as many with padding, and `max_rows` texts; a longer
    text is a batch of its own.

    Returns
    -------
    list of int64 arrays
        Indices of each batch's texts, longest batches first.
    """
    if len(lengths) == 1:
        return [np.zeros(1, np.int64)]
    order = np.argsort(lengths, kind="stable")
    ascending = np.asarray(lengths)[order]
    ends = np.cumsum(ascending)
    batches, start, done = [], 0, 0
    while start < len(order):
        rest = int(ends[-1]) - done
        share = -(-rest // max(1, -(-rest // token_budget)))
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
    """Return the cuts, from 0 to len(widths), that divide ascending `widths` into runs of least total cost."""
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
    """Reorder batches so that any stretch of them is a fair sample; the first batch stays first.

    With the longest batches first, a progress bar would count few texts at the start and predict too late an end.
    The first batch is the largest, so that running out of memory shows at once.
    """
    keys = np.arange(len(batches)) * _GOLDEN % 1.0
    return [batches[at] for at in np.argsort(keys, kind="stable")]
