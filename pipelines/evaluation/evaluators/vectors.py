"""Dense and sparse vectors for evaluators: encoding and sparsity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from indexing.errors import InputError
from indexing.inputs import require_positive, shown, whole_number
from retrieve.encoders.base import Task
from retrieve.encoders.similarity import Similarity, Vectors
from retrieve.protocols import similarity_name


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

    def __post_init__(self) -> None:
        whole_number(self.batch_size, "batch_size")
        require_positive(truncate_dim=self.truncate_dim, max_active_dims=self.max_active_dims)

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
        name = "encode" if task is None else f"encode_{task}"
        encode = None if isinstance(model, str | type) else getattr(model, name, None)
        if encode is None:
            raise InputError(f"the model must be an encoder, and {shown(model)} has no {name}: load it first")
        limits = {"truncate_dim": self.truncate_dim}
        if is_sparse(model):
            limits = {"max_active_dims": self.max_active_dims}
        elif is_multi_vector(model):
            limits = {}
        vectors: Vectors = encode(
            list(texts), prompt=prompt, prompt_name=prompt_name, show_progress=self.show_progress_bar, **limits, **more
        )
        return vectors


def is_sparse(model: Any) -> bool:
    """Return whether a model produces term weights."""
    return getattr(model, "kind", None) == "sparse"


def is_multi_vector(model: Any) -> bool:
    """Return whether a model produces a vector for each token."""
    return getattr(model, "kind", None) == "multi-vector"


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


def similarity_of(model: Any) -> Similarity:
    """Return the similarity that a model was trained for."""
    found: Similarity = similarity_name(model)
    return found
