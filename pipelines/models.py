"""The encoders that a collection was built with, loaded again by what its manifest says of them."""

from pathlib import Path
from typing import Any

from indexing.collection.identity import check_identity
from indexing.collection.legs import DocumentEncoder
from indexing.collection.manifest import Leg, read_manifest
from indexing.errors import ModelError


def collection_encoders(
    path: str | Path, *, dense: Any = None, sparse: Any = None, dtype: str = "auto"
) -> dict[str, DocumentEncoder]:
    """Load the encoder of each leg that has one.

    Parameters
    ----------
    path
        The collection.
    dense, sparse
        An encoder of this kind, loaded or by path or name, in place of the one that the manifest names.
    dtype
        What it computes in.

    Raises
    ------
    ModelError
        When one cannot be loaded, or is not the leg's.
    """
    encoders = {}
    for name, leg in read_manifest(Path(path)).legs.items():
        if leg.encoder is not None:
            given = dense if leg.rows == "vectors" else sparse
            encoders[name] = _load(leg, name, given, dtype)
    return encoders


def _load(leg: Leg, name: str, given: Any, dtype: str) -> DocumentEncoder:
    from retrieve.encoders import DenseEncoder, SparseEncoder

    recorded = dict(leg.encoder or {})
    option = "dense" if leg.rows == "vectors" else "sparse"
    if given is None:
        given = recorded.get("name")
        if given is None:
            raise ModelError(
                f"the manifest does not say which encoder the leg {name!r} was built with: --{option} MODEL"
            )
    encoder: Any = given
    if isinstance(given, str | Path):
        try:
            encoder = DenseEncoder(given, dtype=dtype) if option == "dense" else SparseEncoder(given, dtype=dtype)
        except ModelError as error:
            raise ModelError(f"the encoder of the leg {name!r} cannot be loaded ({error}): --{option} MODEL") from error
    check_identity(recorded, encoder.identity, name)
    loaded: DocumentEncoder = encoder
    return loaded
