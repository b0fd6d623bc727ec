"""Initial model for CSR: a dense encoder followed by a new sparse autoencoder."""

from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.encoders.saving import save_modules, write_into

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

# For vectors of d dimensions: 4 d latents, d / 4 of them active, d / 2 dead ones decoded; as in sentence-transformers.
_EXPANSION, _ACTIVE_DIVISOR, _REVIVED_DIVISOR = 4, 4, 2


def write_autoencoder(encoder: "DenseEncoder", folder: str | Path, *, seed: int) -> Path:
    """Write a dense encoder with an autoencoder of random weights as the checkpoint of a sparse encoder.

    Parameters
    ----------
    folder
        Target folder; existing content is replaced.
    seed
        Seed of the weights.
    """
    import torch

    from retrieve.encoders.modules.sparse_auto_encoder import SparseAutoEncoder

    width = encoder.dimension
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        k, k_aux = max(1, width // _ACTIVE_DIVISOR), width // _REVIVED_DIVISOR
        autoencoder = SparseAutoEncoder(width, _EXPANSION * width, k=k, k_aux=k_aux)
    # Not the dense encoder's cosine: the loss compares codes by dot product, and inverted indexes score by it.
    settings = encoder.settings | {"model_type": "SparseEncoder", "similarity_fn_name": "dot"}
    return write_into(Path(folder), lambda staging: save_modules([*encoder.modules, autoencoder], staging, settings))
