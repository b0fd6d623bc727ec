"""Encoders of functions: any callable as a dense or sparse encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from indexing.errors import InputError, ModelError
from indexing.inputs import texts as checked_texts
from indexing.inputs import whole_number
from retrieve.encoders.compared import ComparesVectors

Encode = Callable[[Sequence[str]], Any]


class _Function:
    """The common part of both: functions for documents and queries, and an identity that the caller states."""

    def __init__(self, encode: Encode, encode_query: Encode | None, identity: str) -> None:
        if not callable(encode) or not (encode_query is None or callable(encode_query)):
            raise InputError("an encoder of a function takes a function from a list of texts to their rows")
        if not isinstance(identity, str) or not identity.strip():
            raise InputError("identity must name the model and its version, as in 'my-model@1': another one is refused")
        self._document, self._query, self._name = encode, encode_query or encode, identity

    def _texts(self, given: str | Sequence[str]) -> list[str]:
        return [given] if isinstance(given, str) else list(checked_texts(given, "texts"))


class DenseFunction(ComparesVectors, _Function):
    """A function as an encoder of vectors; create it with `DenseEncoder.of`."""

    def __init__(
        self,
        encode: Encode,
        dimension: int,
        *,
        identity: str,
        similarity: str = "cosine",
        encode_query: Encode | None = None,
    ) -> None:
        super().__init__(encode, encode_query, identity)
        if similarity not in ("cosine", "dot"):
            raise InputError(f"similarity must be 'cosine' or 'dot', not {similarity!r}")
        self.dimension, self.similarity_fn_name = whole_number(dimension, "dimension"), similarity

    @property
    def identity(self) -> dict[str, Any]:
        """Identity as stated, with dimension and similarity."""
        stated = {"name": self._name, "kind": "function-dense", "model": self._name}
        return stated | {"dimension": self.dimension, "similarity": self.similarity_fn_name}

    def encode_query(self, texts: str | Sequence[str], /) -> NDArray[np.float32]:
        """Return the queries' vectors, float32 [texts, dimension]; of a single text one vector."""
        return self._rows(self._query, texts)

    def encode_document(self, texts: str | Sequence[str], /) -> NDArray[np.float32]:
        """Return the documents' vectors, float32 [texts, dimension]; of a single text one vector."""
        return self._rows(self._document, texts)

    def _rows(self, encode: Encode, given: str | Sequence[str]) -> NDArray[np.float32]:
        texts = self._texts(given)
        found = np.asarray(encode(texts), np.float32) if texts else np.zeros((0, self.dimension), np.float32)
        if found.shape != (len(texts), self.dimension) or not np.isfinite(found).all():
            shape = f"finite vectors of shape {(len(texts), self.dimension)}"
            raise ModelError(f"the encoder {self._name!r} must return {shape}, not {found.shape}")
        return found[0] if isinstance(given, str) else found


class SparseFunction(_Function):
    """A function as an encoder of term weights; create it with `SparseEncoder.of`."""

    def __init__(
        self, encode: Encode, vocabulary: Sequence[str], *, identity: str, encode_query: Encode | None = None
    ) -> None:
        super().__init__(encode, encode_query, identity)
        self.vocabulary = list(vocabulary)

    @property
    def identity(self) -> dict[str, Any]:
        """Identity as stated, with the size of the vocabulary."""
        stated = {"name": self._name, "kind": "function-sparse", "model": self._name}
        return stated | {"vocabulary": len(self.vocabulary)}

    def encode_query(self, texts: str | Sequence[str], /) -> csr_matrix:
        """Return the queries' term weights, CSR float32 [texts, vocabulary]."""
        return self._rows(self._query, texts)

    def encode_document(self, texts: str | Sequence[str], /) -> csr_matrix:
        """Return the documents' term weights, CSR float32 [texts, vocabulary]."""
        return self._rows(self._document, texts)

    def _rows(self, encode: Encode, given: str | Sequence[str]) -> csr_matrix:
        texts = self._texts(given)
        rows: Any = encode(texts) if texts else np.zeros((0, len(self.vocabulary)), np.float32)
        found = csr_matrix(rows, dtype=np.float32)
        if found.shape != (len(texts), len(self.vocabulary)) or not np.isfinite(found.data).all():
            shape = f"finite weights of shape {(len(texts), len(self.vocabulary))}"
            raise ModelError(f"the encoder {self._name!r} must return {shape}, not {found.shape}")
        return found
