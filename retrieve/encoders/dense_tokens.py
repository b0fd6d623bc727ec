"""DenseTokens: the token vectors of a dense encoder, for late interaction without a model trained for it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.token_vectors import TokenVectors
from retrieve.encoders.compared import ComparesTokens

if TYPE_CHECKING:
    from retrieve.encoders.base import Task
    from retrieve.encoders.dense import DenseEncoder


class DenseTokens(ComparesTokens):
    """Encoder of texts as the token vectors of a `DenseEncoder` before pooling, scaled to unit length.

    Special tokens are included, and no prompts are used, as in `LateInteractionReranker`.

    Parameters
    ----------
    encoder
        An encoder with a transformer.
    """

    similarity_fn_name = "meanmaxsim"

    def __init__(self, encoder: "DenseEncoder") -> None:
        self.encoder = encoder
        self.dimension = encoder.encode_tokens([]).dimension
        self.max_length = encoder.max_length

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the dense encoder, marked as that of its token vectors."""
        return self.encoder.identity | {"kind": "dense-tokens"}

    @classmethod
    def load(cls, model: str, **arguments: Any) -> Self:
        """Load the dense encoder; `arguments` are those of `DenseEncoder`."""
        from retrieve.encoders.dense import DenseEncoder

        return cls(DenseEncoder(model, **arguments))

    @property
    def recipe(self) -> tuple[Callable[..., Self], str, dict[str, Any]]:
        """Function, model and arguments (without the device) that recreate this encoder in another process."""
        _, model, arguments = self.encoder.recipe
        return type(self).load, model, arguments

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Encode queries, without a prompt."""
        return self.encoder.encode_tokens(texts, prompt="")

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Encode documents, without a prompt."""
        return self.encoder.encode_tokens(texts, prompt="")


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
        return both_vectors(self.dense, texts, "document")


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
