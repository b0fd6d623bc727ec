"""Reranker with a cross-encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import shown
from retrieve.reranking.base import CandidateReranker
from retrieve.reranking.passages import Passages

if TYPE_CHECKING:
    from retrieve.encoders import CrossEncoder


class Reranker(CandidateReranker):
    """Reranker with a cross-encoder, which reads query and document together (Nogueira and Cho 2019).

    The pairs of a block of queries are scored together, batched by length; equal pairs of texts are scored once.

    Parameters
    ----------
    model
        A `CrossEncoder` with one label.
    weight, passages, overlap
        See `CandidateReranker`.
    """

    def __init__(
        self, model: "CrossEncoder", *, weight: float = 0.0, passages: Passages = "first", overlap: int = 32
    ) -> None:
        if not callable(getattr(model, "predict", None)) or isinstance(model, type):
            raise InputError(f"model must be a loaded CrossEncoder, not {shown(model)}: CrossEncoder(PATH)")
        if (labels := getattr(model, "labels", 1)) != 1:
            raise InputError(f"a reranker needs a cross-encoder with one label; this one has {labels}")
        self.model = model
        super().__init__(weight=weight, passages=passages, overlap=overlap, encoder=model)

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        pairs = [(queries[row], texts[place]) for row, place in zip(rows.tolist(), places.tolist(), strict=True)]
        scores = self.model.predict(pairs)
        if scores.ndim > 1:
            raise InputError(f"a reranker needs a cross-encoder with one label; this one has {scores.shape[1]}")
        return scores
