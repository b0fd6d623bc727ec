"""A sparse autoencoder behind a dense encoder: what CSR begins with."""

from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.encoders.saving import save_modules, write_into

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

WIDER, ACTIVE, REVIVED = 4, 4, 2


def write_autoencoder_start(encoder: "DenseEncoder", folder: str | Path, *, seed: int) -> Path:
    """Write a dense encoder with an autoencoder of new weights as a sparse encoder's checkpoint.

    Of vectors of d dimensions: 4 d latents, d / 4 of them active, d / 2 dead ones decoded; as in sentence-transformers.

    Parameters
    ----------
    folder
        Where to; what an older run left there is replaced.
    seed
        Of the weights.
    """
    import torch

    from retrieve.encoders.modules.sparse_auto_encoder import SparseAutoEncoder

    width = encoder.dimension
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        coder = SparseAutoEncoder(width, WIDER * width, k=max(1, width // ACTIVE), k_aux=width // REVIVED)
    settings = encoder.settings | {"model_type": "SparseEncoder", "similarity_fn_name": "dot"}
    write_into(Path(folder), lambda aside: save_modules([*encoder.modules, coder], aside, settings))
    return Path(folder)
