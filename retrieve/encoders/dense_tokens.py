"""DenseTokens: the token vectors of a dense encoder, for late interaction without a model trained for it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from indexing.token_vectors import TokenVectors

if TYPE_CHECKING:
    from retrieve.encoders.dense import DenseEncoder


class DenseTokens:
    """Encoder of texts as the token vectors of a `DenseEncoder` before pooling, scaled to unit length.

    Special tokens are included, and no prompts are used, as in `LateInteractionReranker`.

    Parameters
    ----------
    encoder
        An encoder with a transformer.
    """

    similarity = "meanmaxsim"

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
