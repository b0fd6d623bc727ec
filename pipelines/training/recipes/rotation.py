"""Vectors turned so that their first dimensions say most: what training in several widths begins with."""

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


def write_rotated_start(encoder: "DenseEncoder", texts: Sequence[str], folder: str | Path) -> Path:
    """Write a dense encoder with a linear layer that turns its vectors to the principal axes of some texts' vectors.

    Products and cosines of whole vectors stay what they were; cut short, the vectors keep as much as they can of these
    texts'. The layer stands before the last normalisation and is trained with the rest.

    Parameters
    ----------
    texts
        Documents such as it will read; the first `TEXTS_READ` are encoded.
    folder
        Where to; what an older run left there is replaced.

    Raises
    ------
    InputError
        Without texts.
    """
    import torch

    from retrieve.encoders.modules.dense import Dense
    from retrieve.encoders.modules.normalize import Normalize

    if not texts:
        raise InputError("to turn an encoder's vectors takes texts such as it will read")
    axes = principal_axes(encoder.encode(list(texts[:TEXTS_READ]), show_progress=False))
    turn = Dense(len(axes), len(axes), bias=False, activation_function="torch.nn.modules.linear.Identity")
    with torch.no_grad():
        turn.linear.weight.copy_(torch.from_numpy(axes))
    modules = list(encoder.modules)
    modules.insert(len(modules) - isinstance(modules[-1], Normalize), turn)
    write_into(Path(folder), lambda aside: save_modules(modules, aside, encoder.settings))
    return Path(folder)


def principal_axes(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give an orthogonal matrix whose rows are the directions of most energy, the greatest first, float32 [dim, dim].

    Of the vectors themselves, not of their differences from the mean: they are compared by product, not by distance
    from a centre.

    Parameters
    ----------
    vectors
        [texts, dim].
    """
    exact = vectors.astype(np.float64)
    _, axes = np.linalg.eigh(exact.T @ exact)
    return np.ascontiguousarray(axes[:, ::-1].T, dtype=np.float32)
