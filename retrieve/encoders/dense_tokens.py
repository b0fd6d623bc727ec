"""DenseTokens: the token vectors of a dense encoder, for late interaction without a model trained for it."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ModelError
from indexing.inputs import number, whole_number
from indexing.token_vectors import TokenVectors
from retrieve.encoders.compared import ComparesTokens

if TYPE_CHECKING:
    from retrieve.encoders.base import Task
    from retrieve.encoders.dense import DenseEncoder

TEXTS_READ = 256
"""Texts that the axes of reduced vectors are fitted on."""


class DenseTokens(ComparesTokens):
    """Encoder of texts as the token vectors of a `DenseEncoder` before pooling, scaled to unit length.

    Special tokens are included, and no prompts are used, as in `LateInteractionReranker`.

    Parameters
    ----------
    encoder
        An encoder with a transformer.
    axes
        [dimension, width of the token vectors]: reduces vectors to their products with these axes, as `fitted` makes
        them. They are kept in float16, as part of the identity.
    pool_factor
        Keeps about one vector of so many of a document, as `HierarchicalTokenPooling` does.
    """

    similarity_fn_name = "meanmaxsim"

    def __init__(
        self, encoder: "DenseEncoder", *, axes: NDArray[np.floating] | None = None, pool_factor: float | None = None
    ) -> None:
        self.encoder, self.max_length = encoder, encoder.max_length
        self.pool_factor = None if pool_factor is None else number(pool_factor, "pool_factor", least=1)
        self.axes = None if axes is None else np.ascontiguousarray(axes, "<f2")
        self.dimension = encoder.encode_tokens([]).dimension
        if self.axes is not None:
            if self.axes.ndim != 2 or self.axes.shape[1] != self.dimension or not len(self.axes):
                raise InputError(f"axes must be [dimension, {self.dimension}], not {list(self.axes.shape)}")
            self.dimension = len(self.axes)

    @classmethod
    def fitted(
        cls, encoder: "DenseEncoder", texts: Sequence[str], dimension: int, *, pool_factor: float | None = None
    ) -> Self:
        """Return an encoder that keeps the principal axes of the token vectors of some texts.

        Parameters
        ----------
        texts
            Documents like those to be encoded; the first `TEXTS_READ` are used.
        dimension
            Number of axes.

        Raises
        ------
        InputError
            Without texts, or for a dimension above the width of the token vectors.
        """
        texts = list(texts[:TEXTS_READ])
        if not texts:
            raise InputError("the axes of reduced token vectors are fitted on texts, and there are none")
        vectors = encoder.encode_tokens(texts, prompt="").vectors
        width = vectors.shape[1]
        if whole_number(dimension, "dimension") > width:
            raise InputError(f"dimension must be from 1 to {width}, the width of the token vectors, not {dimension}")
        _, found = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
        axes = found[:, ::-1].T[:dimension]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
        return cls(encoder, axes=axes * np.sign(largest), pool_factor=pool_factor)

    @classmethod
    def recorded(cls, encoder: "DenseEncoder", identity: Mapping[str, Any]) -> Self:
        """Return the encoder whose `identity` a collection has recorded, made of its dense encoder."""
        axes, packed = None, identity.get("axes")
        if packed is not None:
            width = encoder.encode_tokens([]).dimension
            try:
                axes = np.frombuffer(b64decode(packed, validate=True), "<f2").reshape(-1, width)
            except (ValueError, TypeError) as error:
                raise ModelError(f"the recorded axes of token vectors do not fit {encoder.checkpoint.name}") from error
        return cls(encoder, axes=axes, pool_factor=identity.get("pool_factor"))

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the dense encoder, marked as that of its token vectors, with what reduces them."""
        reduced: dict[str, Any] = {}
        if self.axes is not None:
            reduced["axes"] = b64encode(self.axes.tobytes()).decode()
        if self.pool_factor is not None:
            reduced["pool_factor"] = self.pool_factor
        return self.encoder.identity | {"kind": "dense-tokens"} | reduced

    @classmethod
    def load(
        cls, model: str, *, axes: NDArray[np.floating] | None = None, pool_factor: float | None = None, **arguments: Any
    ) -> Self:
        """Load the dense encoder; the other `arguments` are those of `DenseEncoder`."""
        from retrieve.encoders.dense import DenseEncoder

        return cls(DenseEncoder(model, **arguments), axes=axes, pool_factor=pool_factor)

    @property
    def recipe(self) -> tuple[Callable[..., Self], str, dict[str, Any]]:
        """Function, model and arguments (without the device) that recreate this encoder in another process."""
        _, model, arguments = self.encoder.recipe
        reduced = {"axes": self.axes, "pool_factor": self.pool_factor}
        return type(self).load, model, arguments | {name: value for name, value in reduced.items() if value is not None}

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Encode queries, without a prompt."""
        return self.reduced(self.encoder.encode_tokens(texts, prompt=""), "query")

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Encode documents, without a prompt."""
        return self.reduced(self.encoder.encode_tokens(texts, prompt=""), "document")

    def reduced(self, vectors: TokenVectors, task: "Task") -> TokenVectors:
        """Return the dense encoder's token vectors with fewer dimensions, and those of documents pooled."""
        if self.axes is not None:
            rows = vectors.vectors @ self.axes.astype(np.float32).T
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            vectors = vectors._replace(vectors=rows)
        if self.pool_factor is not None and task == "document":
            from retrieve.encoders.modules.token_pooling import pool_tokens

            pooled = [pool_tokens(text, self.pool_factor) for text in vectors.to_list()]
            vectors = TokenVectors.of(pooled, self.dimension)
        return vectors


class OnePass:
    """Document vectors and token vectors of the same texts from one pass through the network.

    The legs of a collection are encoded one after the other. The first of both legs that encodes some texts runs the
    network, and keeps the rows of the other leg until this asks for the same texts.

    Parameters
    ----------
    dense, tokens
        Encoders for which `shares_pass` is true.
    """

    def __init__(self, dense: "DenseEncoder", tokens: DenseTokens) -> None:
        self.dense, self.tokens = dense, tokens
        self._texts: list[str] = []
        self._kept: dict[str, Any] = {}

    def vectors(self, texts: Sequence[str]) -> Any:
        """Return the vectors of documents, as `DenseEncoder.encode_document` does."""
        return self._rows("vectors", texts)

    def token_vectors(self, texts: Sequence[str]) -> Any:
        """Return the token vectors of documents, as `DenseTokens.encode_document` does."""
        return self._rows("token_vectors", texts)

    def _rows(self, name: str, texts: Sequence[str]) -> Any:
        texts = list(texts)
        if name not in self._kept or texts != self._texts:
            vectors, tokens = self._encode(texts)
            self._texts, self._kept = texts, {"vectors": vectors, "token_vectors": tokens}
        return self._kept.pop(name)

    def _encode(self, texts: list[str]) -> tuple[NDArray[np.float32], TokenVectors]:
        if not texts:
            return self.dense.encode_document(texts), self.tokens.encode_document(texts)
        vectors, tokens = both_vectors(self.dense, texts, "document")
        return vectors, self.tokens.reduced(tokens, "document")


def both_vectors(dense: "DenseEncoder", texts: Sequence[str], task: "Task") -> tuple[NDArray[np.float32], TokenVectors]:
    """Return the vectors and the token vectors of at least one text, from one pass through the network."""
    blocks = [dense.both_vectors(chunk) for chunk in dense.engine_for(task).chunks(texts, task=task)]
    return np.concatenate([vectors for vectors, _ in blocks]), TokenVectors.join([tokens for _, tokens in blocks])


def shares_pass(dense: Any, tokens: Any, task: "Task" = "document") -> bool:
    """Return whether both encoders run the same network on the same input for a text of this task."""
    if not isinstance(tokens, DenseTokens):
        return False
    from retrieve.encoders.dense import DenseEncoder

    if not isinstance(dense, DenseEncoder):
        return False
    engine = dense.engine_for(task)
    lengths = getattr(engine.input, "lengths", None)
    return (
        engine is tokens.encoder.engine_for(None)
        and not dense.resolve_prompt(None, task)
        and getattr(lengths, f"{task}_length", None) is None
    )
