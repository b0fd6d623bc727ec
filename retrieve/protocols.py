"""Interfaces of encoders: what an object of one's own must have to encode a collection's documents and queries."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from indexing.errors import InputError
from indexing.inputs import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix


class VectorEncoder(Protocol):
    """Interface of an encoder of vectors, such as `DenseEncoder`.

    Attributes
    ----------
    identity
        JSON values that distinguish this model from others, under ``name`` a name for people. A collection records it,
        and refuses queries of an encoder with another one.
    dimension
        Number of a vector's dimensions.
    similarity_fn_name
        ``"cosine"`` or ``"dot"``. An attribute `similarity` that is this text is read as well.
    """

    identity: Any
    dimension: int
    similarity_fn_name: Any

    def encode_query(self, texts: Any, /) -> "NDArray[Any]":
        """Return the queries' vectors, float32 [texts, dimension]."""
        ...

    def encode_document(self, texts: Any, /) -> "NDArray[Any]":
        """Return the documents' vectors, float32 [texts, dimension]."""
        ...


class TermEncoder(Protocol):
    """Interface of an encoder of term weights, such as `SparseEncoder`; `identity` as in `VectorEncoder`."""

    identity: Any
    vocabulary: Sequence[str]
    """Term of each column."""

    def encode_query(self, texts: Any, /) -> "csr_matrix":
        """Return the queries' term weights, CSR float32 [texts, vocabulary]."""
        ...

    def encode_document(self, texts: Any, /) -> "csr_matrix":
        """Return the documents' term weights, CSR float32 [texts, vocabulary]."""
        ...


_NEEDED: Mapping[str, Sequence[str]] = {
    "dense": ("identity", "dimension", "similarity_fn_name", "encode_query", "encode_document"),
    "sparse": ("identity", "vocabulary", "encode_query", "encode_document"),
    "multi_vector": ("identity", "encode_query", "encode_document"),
}
_REMEDIES = {
    "dense": "load a checkpoint with DenseEncoder(PATH), or add what retrieve.protocols.VectorEncoder lists",
    "sparse": "load a checkpoint with SparseEncoder(PATH), or add what retrieve.protocols.TermEncoder lists",
    "multi_vector": "load a checkpoint with MultiVectorEncoder(PATH)",
}


def check_encoder(encoder: Any, argument: str, kind: str, needed: Sequence[str] = ()) -> Any:
    """Return an encoder; refuse an object that lacks a part of the interface.

    Parameters
    ----------
    argument
        Name of the argument, for the message.
    kind
        ``"dense"`` for a `VectorEncoder`, ``"sparse"`` for a `TermEncoder`, ``"multi_vector"`` for token vectors.
    needed
        The parts that the caller uses; all by default.

    Raises
    ------
    InputError
        Naming the missing parts.
    """
    lacking = [name for name in needed or _NEEDED[kind] if isinstance(encoder, type) or not _has(encoder, name)]
    if not lacking:
        return encoder
    raise InputError(
        f"{argument} must be an encoder, and {shown(encoder)} has no {', '.join(lacking)}: {_REMEDIES[kind]}"
    )


def similarity_name(encoder: Any, default: str | None = None) -> Any:
    """Return the name of an encoder's similarity: its `similarity_fn_name`, or else its attribute `similarity`, a text.

    Raises
    ------
    InputError
        For an encoder with neither, unless there is a `default`.
    """
    if (name := getattr(encoder, "similarity_fn_name", None)) is not None:
        return name
    if isinstance(name := getattr(encoder, "similarity", None), str):
        return name
    if default is not None:
        return default
    raise InputError(
        f"{shown(encoder)} has no similarity_fn_name: set it to the name of its similarity, such as 'cosine' or 'dot'"
    )


def _has(encoder: Any, name: str) -> bool:
    if name == "similarity_fn_name" and isinstance(getattr(encoder, "similarity", None), str):
        return True
    return hasattr(encoder, name)
