"""Selection of the highest scores of each row, and reusable memory for matrices of scores."""

import numpy as np
import torch
from numpy.typing import NDArray

GROUP = 16
"""Number of columns in a group, of which only the maximum is inspected first."""
PAGE = 4096
"""Size of a memory page in bytes."""


def highest(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `k` highest scores of each row, highest first, and their columns, faster than `torch.topk`.

    They lie in the `k` groups of columns with the highest maxima. The choice among equal scores is unspecified.

    Parameters
    ----------
    scores
        [rows, columns].
    """
    if scores.shape[1] // GROUP < 4 * k:
        return torch.topk(scores, k, dim=1)
    _, columns, members = grouped(scores, k)
    values, at = torch.topk(members, k, dim=1)
    return values, columns.gather(1, at)


def grouped(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the highest maxima of groups of columns, highest first, and these groups' columns and scores.

    Parameters
    ----------
    scores
        [rows, columns].
    k
        Number of groups to return, at most all of them.

    Returns
    -------
    tuple of torch.Tensor
        Maxima [rows, k]; columns and scores [rows, k * GROUP + leftover], where leftover columns belong to no group.
    """
    # Group g has the columns g, groups + g, 2 * groups + g, …: maxima then run over contiguous memory.
    groups = scores.shape[1] // GROUP
    all_grouped = groups * GROUP
    maxima, chosen = torch.topk(scores[:, :all_grouped].unflatten(1, (GROUP, groups)).amax(dim=1), k, dim=1)
    members = (chosen[:, None, :] + groups * torch.arange(GROUP)[:, None]).flatten(1)
    columns = torch.cat((members, torch.arange(all_grouped, scores.shape[1]).expand(len(scores), -1)), dim=1)
    return maxima, columns, scores.gather(1, columns)


def first(scores: torch.Tensor, k: int, ranks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the columns and the values of the `k` highest scores of each row, highest first.

    Parameters
    ----------
    scores
        float32 [rows, columns].
    ranks
        [columns] or [rows, columns]; among equal scores lower ranks come first, also at the cutoff.
    """
    ranks = np.broadcast_to(ranks, scores.shape)
    # One extra score shows whether the cutoff falls among equal scores.
    values, places = (found.numpy() for found in highest(scores, min(k + 1, scores.shape[1])))
    if values.shape[1] > k:
        for row in np.flatnonzero(values[:, k] == values[:, k - 1]):
            above = int((values[row] > values[row, k]).sum())
            equal = np.flatnonzero(scores[row].numpy() == values[row, k])
            places[row, above:k] = equal[np.argpartition(ranks[row, equal], k - above - 1)[: k - above]]
        values, places = values[:, :k], places[:, :k]
    order = np.lexsort((np.take_along_axis(ranks, places, axis=1), -values), axis=1)
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


def room_for_scores(rows: int, columns: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Allocate reusable memory for scores, [rows, columns], by default float32.

    New memory for each block would cost as much as the products in it. numpy allocates it, since numpy requests huge
    pages and takes a quarter of torch's time. It starts at a page boundary, where products are written a tenth faster.
    """
    dtype = dtype or torch.float32
    size = rows * columns * dtype.itemsize
    memory = np.empty(size + PAGE, dtype=np.uint8)
    start = -memory.ctypes.data % PAGE
    return torch.from_numpy(memory[start : start + size]).view(dtype).view(rows, columns)
