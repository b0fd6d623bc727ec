"""Passages: long texts cut into windows that a model can read whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder

Passages = Literal["first", "max", "mean"]
"""What stands for a long document: its first window, the best of all, or the mean of all."""

LEAST = 4
"""A query leaves a window at least one part in so many of what the model reads."""
STEP = 16
"""Windows for queries of about the same length are the same: sizes are multiples of this where there is room."""


class Windows:
    """Cuts texts into windows of so many of a model's tokens.

    Parameters
    ----------
    encoder
        Whose tokens are counted and whose `max_length` bounds them. Its tokenizer is copied: other threads may use it.
    overlap
        How many tokens a window shares with the one before; at most half a window.

    Raises
    ------
    InputError
        For a negative overlap, or a tokenizer that cannot say where its tokens stand in the text.
    """

    def __init__(self, encoder: "Encoder", *, overlap: int = 32) -> None:
        if overlap < 0:
            raise InputError(f"overlap must be at least 0, not {overlap}")
        tokenizer: Any = getattr(encoder.input, "tokenizer", None)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(
                f"{encoder!r} cannot cut documents into passages: its tokenizer does not say where tokens stand in the "
                "text; use passages='first'"
            )
        self._tokenizer = type(backend).from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.overlap, self.max_length = overlap, encoder.max_length

    def room(self, queries: Sequence[str] | None) -> NDArray[np.int64]:
        """Say how many tokens of a document the model reads beside each query, or (for None) beside nothing."""
        if self.max_length is None:
            return np.full(1 if queries is None else len(queries), np.iinfo(np.int64).max)
        if queries is None:
            return np.array([max(1, self.max_length - self._tokenizer.num_special_tokens_to_add(False))])
        taken = np.array([len(coded.ids) for coded in self._coded(queries)], dtype=np.int64)
        room = self.max_length - self._tokenizer.num_special_tokens_to_add(True) - taken
        stepped = np.where(room > STEP, room - room % STEP, room)
        return np.maximum(stepped, max(1, self.max_length // LEAST))

    def spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Say where each text's tokens begin and end, in characters: int64 [tokens, 2] a text."""
        return [np.array(coded.offsets, dtype=np.int64).reshape(-1, 2) for coded in self._coded(texts)]

    def cut(self, text: str, spans: NDArray[np.int64], size: int) -> list[str]:
        """Cut a text into windows of at most `size` tokens; a text without tokens is its own only window."""
        if len(spans) <= size:
            return [text]
        step = size - min(self.overlap, size // 2)
        starts = range(0, len(spans) - min(self.overlap, size // 2), step)
        return [text[spans[start, 0] : spans[min(start + size, len(spans)) - 1, 1]] for start in starts]

    def _coded(self, texts: Sequence[str]) -> list[Any]:
        coded: list[Any] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return coded


def reduce_passages(
    scores: NDArray[np.float32], starts: NDArray[np.int64], passages: Passages
) -> NDArray[np.floating[Any]]:
    """Give each document one score for its passages': their maximum or mean.

    Parameters
    ----------
    scores
        float32 [passages], a document's one after another.
    starts
        int64 [documents], where each document's first one stands; every document has one.
    """
    if passages == "max":
        return np.maximum.reduceat(scores, starts)
    counts = np.diff(np.append(starts, len(scores)))
    return np.add.reduceat(scores.astype(np.float64), starts) / counts
