"""Similarities and distances of vectors, differentiable: of all pairs of two sets, or row by row."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError

Metric: TypeAlias = Literal["cosine", "dot"]
Distance: TypeAlias = Literal["cosine", "euclidean", "manhattan"]


def all_pairs(metric: Metric, a: Tensor, b: Tensor) -> Tensor:
    """Return the similarity of each row of `a` [n, width] to each row of `b` [m, width], [n, m]."""
    if metric == "cosine":
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return a @ b.T


def row_by_row(metric: Metric, a: Tensor, b: Tensor) -> Tensor:
    """Return the similarity of row i of `a` to row i of `b`, both [n, width], as [n]."""
    if metric == "cosine":
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return (a * b).sum(dim=-1)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the similarity of row i of `a` to row i of `b` by their angle as complex vectors, [n].

    The first half of each vector holds the real parts, the second the imaginary ones. With z = a / b in complex
    arithmetic, scaled by |b| / |a|, it is the absolute value of the sum of all real and imaginary parts of z.

    References
    ----------
    Li and Li, "AnglE-optimized Text Embeddings", 2023.
    """
    real_a, imaginary_a = a.chunk(2, dim=-1)
    real_b, imaginary_b = b.chunk(2, dim=-1)
    square = (real_b**2 + imaginary_b**2).sum(dim=-1, keepdim=True)
    real = (real_a * real_b + imaginary_a * imaginary_b) / square
    imaginary = (imaginary_a * real_b - real_a * imaginary_b) / square
    length_a = (real_a**2 + imaginary_a**2).sum(dim=-1, keepdim=True).sqrt()
    ratio = length_a / square.sqrt()
    return (torch.cat((real, imaginary), dim=-1) / ratio).sum(dim=-1).abs()


def distance(kind: Distance, a: Tensor, b: Tensor) -> Tensor:
    """Return the distance of row i of `a` from row i of `b`, [n]; the cosine distance is 1 - cosine."""
    return _DISTANCES[kind](a, b)


def distances_within(kind: Literal["cosine", "euclidean"], vectors: Tensor) -> Tensor:
    """Return the distance of each row from each other row, [n, n]."""
    if kind == "cosine":
        return 1 - all_pairs("cosine", vectors, vectors)
    with torch.autocast(device_type=vectors.device.type, enabled=False):
        vectors = vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors
        products = vectors @ vectors.T
    squares = products.diagonal()
    squared = (squares[None, :] - 2.0 * products + squares[:, None]).clamp(min=0)
    # The square root has no finite derivative at 0.
    same = (squared == 0).to(squared.dtype)
    return (1.0 - same) * (squared + same * 1e-16).sqrt()


def check_metric(metric: str, known: tuple[str, ...] = ("cosine", "dot")) -> None:
    """Raise InputError if the metric is unknown."""
    if metric not in known:
        raise InputError(f"unknown similarity {metric!r}: there are {', '.join(known)}")


_DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": lambda a, b: 1 - row_by_row("cosine", a, b),
    "euclidean": lambda a, b: torch.linalg.vector_norm(a - b, dim=-1),
    "manhattan": lambda a, b: (a - b).abs().sum(dim=-1),
}
