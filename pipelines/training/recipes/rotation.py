"""Initial model for Matryoshka training: rotate vectors so that their first dimensions hold the most information."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from retrieve.encoders.saving import save_modules, write_into

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

TEXTS_READ = 1024


def write_rotated_encoder(encoder: "DenseEncoder", texts: Sequence[str], folder: str | Path) -> Path:
    """Write a dense encoder with a linear layer that rotates its vectors to the principal axes of the texts' vectors.

    Dot products and cosines of full vectors do not change; truncated vectors keep as much energy of these texts as
    possible. The layer precedes the last normalization and is trained with the rest.

    Parameters
    ----------
    texts
        Documents like those to be encoded; the first `TEXTS_READ` are used.
    folder
        Target folder; existing content is replaced.

    Raises
    ------
    InputError
        Without texts.
    """
    import torch

    from retrieve.encoders.modules.dense import Dense
    from retrieve.encoders.modules.normalize import Normalize

    if not texts:
        raise InputError("the rotation of an encoder's vectors must be fitted on texts, and there are none")
    axes = principal_axes(encoder.encode(list(texts[:TEXTS_READ]), show_progress=False))
    rotation = Dense(len(axes), len(axes), bias=False, activation_function="torch.nn.modules.linear.Identity")
    with torch.no_grad():
        rotation.linear.weight.copy_(torch.from_numpy(axes))
    modules = list(encoder.modules)
    modules.insert(len(modules) - isinstance(modules[-1], Normalize), rotation)
    return write_into(Path(folder), lambda staging: save_modules(modules, staging, encoder.settings))


def principal_axes(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return an orthogonal matrix whose rows are the directions of most energy, descending, float32 [dim, dim].

    The vectors are not centered, because they are compared by dot product, not by their distance from a mean.

    Parameters
    ----------
    vectors
        [texts, dim].
    """
    exact = vectors.astype(np.float64)
    _, axes = np.linalg.eigh(exact.T @ exact)
    return np.ascontiguousarray(axes[:, ::-1].T, dtype=np.float32)
