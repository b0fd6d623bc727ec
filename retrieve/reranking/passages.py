"""Passages: long texts cut into windows that fit a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder

Passages = Literal["first", "max", "mean"]
"""Score of a long document: that of its first window, the maximum of all windows, or their mean."""

MIN_FRACTION = 4
"""A window has at least ``max_length / MIN_FRACTION`` tokens, however long the query is."""
STEP = 16
"""Window sizes are multiples of this where possible, so that queries of similar lengths share their windows."""


class Windows:
    """Cuts texts into windows by the number of a model's tokens.

    Parameters
    ----------
    encoder
        The model with the tokenizer and `max_length`. The tokenizer is copied, because other threads may use it.
    overlap
        Number of tokens that a window shares with the one before; at most half a window.

    Raises
    ------
    InputError
        For a negative overlap, or a tokenizer without its tokens' positions in the text.
    """

    def __init__(self, encoder: "Encoder", *, overlap: int = 32) -> None:
        if overlap < 0:
            raise InputError(f"overlap must be at least 0, not {overlap}")
        backend = _backend(encoder)
        if backend is None:
            raise InputError(
                f"{encoder!r} cannot cut documents into passages: its tokenizer has no token positions in the text; "
                "use passages='first'"
            )
        self._tokenizer = type(backend).from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.overlap, self.max_length = overlap, encoder.max_length
        if encoder.kind == "multi-vector":
            self.max_length = self._document_length(encoder)

    def room(self, queries: Sequence[str] | None) -> NDArray[np.int64]:
        """Return how many tokens of a document the model reads with each query, or without one for None."""
        if self.max_length is None:
            return np.full(1 if queries is None else len(queries), np.iinfo(np.int64).max)
        if queries is None:
            return np.array([max(1, self.max_length - self._tokenizer.num_special_tokens_to_add(False))])
        query_tokens = np.array([len(encoding.ids) for encoding in self._encode(queries)], dtype=np.int64)
        room = self.max_length - self._tokenizer.num_special_tokens_to_add(True) - query_tokens
        stepped = np.where(room > STEP, room - room % STEP, room)
        return np.maximum(stepped, max(1, self.max_length // MIN_FRACTION))

    def spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the start and end of each text's tokens, in characters: int64 [tokens, 2] per text."""
        return [np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) for encoding in self._encode(texts)]

    def cut(self, text: str, spans: NDArray[np.int64], size: int) -> list[str]:
        """Cut a text into windows of at most `size` tokens; a text without tokens is one window."""
        return [text[start:end] for start, end in self.bounds(text, spans, size)]

    def bounds(self, text: str, spans: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
        """Return where each window of `cut` starts and ends in the text, in characters."""
        if len(spans) <= size:
            return [(0, len(text))]
        step = size - min(self.overlap, size // 2)
        starts = range(0, len(spans) - min(self.overlap, size // 2), step)
        return [(int(spans[start, 0]), int(spans[min(start + size, len(spans)) - 1, 1])) for start in starts]

    def _document_length(self, encoder: Any) -> int | None:
        """Return how many tokens of a document the model reads beside its prompt, special tokens included."""
        reader = encoder.engine_for("document").input
        lengths = [reader.max_length, getattr(getattr(reader, "lengths", None), "document_length", None)]
        known = [length for length in lengths if length is not None]
        prompt = self._encode([encoder.resolve_prompt(None, "document")])[0]
        return min(known) - len(prompt.ids) if known else None

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        encodings: list[Any] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return encodings


def can_cut(encoder: "Encoder") -> bool:
    """Return whether texts can be cut into windows of this model."""
    return _backend(encoder) is not None


def _backend(encoder: "Encoder") -> Any:
    tokenizer: Any = getattr(getattr(encoder, "input", None), "tokenizer", None)
    return getattr(tokenizer, "backend_tokenizer", None)


def reduce_passages(
    scores: NDArray[np.float32], starts: NDArray[np.int64], passages: Passages
) -> NDArray[np.floating[Any]]:
    """Return each document's maximum or mean of its passages' scores.

    Parameters
    ----------
    scores
        float32 [passages], those of a document together.
    starts
        int64 [documents], position of each document's first passage; each document has at least one.
    """
    if passages == "max":
        return np.maximum.reduceat(scores, starts)
    counts = np.diff(np.append(starts, len(scores)))
    return np.add.reduceat(scores.astype(np.float64), starts) / counts
