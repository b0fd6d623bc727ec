"""Dense and sparse vectors for evaluators: encoding, similarity and sparsity."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError
from retrieve.encoders.base import Task

Vectors: TypeAlias = NDArray[np.float32] | csr_matrix
Similarity: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "euclidean", "manhattan")


class SimilarityFunction(StrEnum):
    """Enumeration of similarities; members equal their names, so "cosine" works like `COSINE`."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


@dataclass(frozen=True, slots=True)
class Encoding:
    """Settings for encoding texts.

    Parameters
    ----------
    batch_size
        Accepted for compatibility and unused: batches are planned by tokens.
    show_progress_bar
        Show a progress bar.
    truncate_dim
        Number of leading dimensions of dense vectors to keep.
    max_active_dims
        Number of the heaviest terms of sparse vectors to keep.
    """

    batch_size: int = 32
    show_progress_bar: bool = False
    truncate_dim: int | None = None
    max_active_dims: int | None = None

    def __call__(
        self,
        model: Any,
        texts: Sequence[str],
        task: Task | None = None,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        **more: Any,
    ) -> Vectors:
        """Encode texts as queries, as documents, or as neither."""
        encode = getattr(model, "encode" if task is None else f"encode_{task}")
        limits = {"max_active_dims": self.max_active_dims} if is_sparse(model) else {"truncate_dim": self.truncate_dim}
        vectors: Vectors = encode(
            list(texts), prompt=prompt, prompt_name=prompt_name, show_progress=self.show_progress_bar, **limits, **more
        )
        return vectors


def is_sparse(model: Any) -> bool:
    """Return whether a model produces term weights."""
    return getattr(model, "kind", None) == "sparse"


def sparsity(vectors: Vectors) -> dict[str, float]:
    """Return the mean number of terms of a text, and the mean fraction of the vocabulary that it lacks."""
    stored = vectors.nnz if issparse(vectors) else int(np.count_nonzero(vectors))
    active = stored / max(1, vectors.shape[0])
    return {"active_dims": active, "sparsity_ratio": 1 - active / vectors.shape[1]}


def mean_sparsity(model: Any, *parts: Vectors) -> dict[str, float]:
    """Return the mean of `sparsity` over sets of a sparse model's vectors; nothing for a dense model."""
    found = [sparsity(part) for part in parts] if is_sparse(model) else []
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]} if found else {}


def sparsity_by_name(model: Any, **parts: Vectors) -> dict[str, float]:
    """Return the `sparsity` of sets of a sparse model's vectors, prefixed by their names; nothing for a dense model."""
    if not is_sparse(model):
        return {}
    return {f"{name}_{key}": value for name, part in parts.items() for key, value in sparsity(part).items()}


def row_by_row(kind: Similarity, a: Vectors, b: Vectors) -> NDArray[np.floating]:
    """Return the similarity of row i of `a` to row i of `b`; distances are negative."""
    if kind in ("cosine", "dot"):
        a, b = (unit(a), unit(b)) if kind == "cosine" else (a, b)
        return _row_sums(a.multiply(b) if issparse(a) else a * b)
    difference = a - b
    if kind == "manhattan":
        return -_row_sums(abs(difference))
    return -np.sqrt(_row_sums(difference.multiply(difference) if issparse(difference) else difference**2))


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float32]:
    """Return the cosine similarity of each row of `a` to each of `b`, [rows of a, rows of b]."""
    product = unit(a) @ unit(b).T
    return np.asarray(product.toarray() if issparse(product) else product, dtype=np.float32)


def unit(vectors: Vectors) -> Vectors:
    """Scale the rows to length 1; rows of length 0 stay."""
    if issparse(vectors):
        lengths = np.sqrt(_row_sums(vectors.multiply(vectors)))
        scaled = vectors.copy()
        scaled.data = scaled.data / np.repeat(np.maximum(lengths, 1e-12), np.diff(vectors.indptr))
        return scaled
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def similarity_of(model: Any) -> Similarity:
    """Return the similarity that a model was trained for."""
    found: Similarity = model.similarity
    return found


def check_similarities(names: Sequence[str]) -> list[Similarity]:
    """Return the names; raise InputError for an unknown one."""
    unknown = [name for name in names if name not in SIMILARITIES]
    if unknown:
        raise InputError(f"unknown similarity {unknown[0]!r}: there are {', '.join(SIMILARITIES)}")
    return list(names)  # type: ignore[arg-type]


def _row_sums(values: Any) -> NDArray[np.floating]:
    return np.asarray(values.sum(axis=1)).reshape(-1)
