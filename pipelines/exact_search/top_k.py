"""The highest scores of many, and memory for them: what exact search over a matrix of scores spends beside products."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

GROUP = 16
"""Columns of which only the highest is looked at first."""
PAGE = 4096
"""Bytes."""


def highest(scores: "torch.Tensor", k: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Give the `k` highest scores of each row, highest first, and their columns, as `torch.topk` does but faster.

    They lie in the `k` groups of columns whose maxima are highest. Which of equal scores are given is left open.

    Parameters
    ----------
    scores
        [rows, columns].
    """
    import torch

    if scores.shape[1] // GROUP < 4 * k:
        return torch.topk(scores, k, dim=1)
    _, columns, members = grouped(scores, k)
    values, at = torch.topk(members, k, dim=1)
    return values, columns.gather(1, at)


def grouped(scores: "torch.Tensor", k: int) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Give the highest maxima of groups of columns, highest first, and the columns of these groups and their scores.

    Parameters
    ----------
    scores
        [rows, columns].
    k
        How many groups, at most as many as there are.

    Returns
    -------
    tuple of torch.Tensor
        Maxima [rows, k]; columns and scores [rows, k * GROUP + those that are left over, which are in no group].
    """
    import torch

    # Group g has the columns g, groups + g, 2 * groups + g, …: maxima are then taken of whole stretches of memory.
    groups = scores.shape[1] // GROUP
    all_grouped = groups * GROUP
    maxima, chosen = torch.topk(scores[:, :all_grouped].unflatten(1, (GROUP, groups)).amax(dim=1), k, dim=1)
    members = (chosen[:, None, :] + groups * torch.arange(GROUP)[:, None]).flatten(1)
    columns = torch.cat((members, torch.arange(all_grouped, scores.shape[1]).expand(len(scores), -1)), dim=1)
    return maxima, columns, scores.gather(1, columns)


def first(scores: "torch.Tensor", k: int, ranks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the columns and the values of the `k` highest scores of each row, highest first.

    Parameters
    ----------
    scores
        float32 [rows, columns].
    ranks
        [columns] or [rows, columns]; of equal scores, the lower ranks come first and stay at the cutoff.
    """
    ranks = np.broadcast_to(ranks, scores.shape)
    # One more than asked for shows whether the cutoff falls among equal scores.
    values, places = (found.numpy() for found in highest(scores, min(k + 1, scores.shape[1])))
    if values.shape[1] > k:
        for row in np.flatnonzero(values[:, k] == values[:, k - 1]):
            above = int((values[row] > values[row, k]).sum())
            equal = np.flatnonzero(scores[row].numpy() == values[row, k])
            places[row, above:k] = equal[np.argpartition(ranks[row, equal], k - above - 1)[: k - above]]
        values, places = values[:, :k], places[:, :k]
    order = np.lexsort((np.take_along_axis(ranks, places, axis=1), -values), axis=1)
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


def room_for_scores(rows: int, columns: int, dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    """Give memory for scores, [rows, columns], float32 unless told, to be used again and again.

    New memory for each block would cost as much as the products in it. This is numpy's, which asks the system for huge
    pages: to get it takes a quarter of the time that torch's takes. It begins with a page, where products are written
    a tenth faster than elsewhere.
    """
    import torch

    dtype = dtype or torch.float32
    size = rows * columns * dtype.itemsize
    memory = np.empty(size + PAGE, dtype=np.uint8)
    start = -memory.ctypes.data % PAGE
    return torch.from_numpy(memory[start : start + size]).view(dtype).view(rows, columns)
