"""Reranker with a cross-encoder."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import shown
from retrieve.reranking.base import CandidateReranker, Contents
from retrieve.reranking.carried import CarriedWeight
from retrieve.reranking.passages import Passages
from retrieve.reranking.remote import FunctionReranker

if TYPE_CHECKING:
    from retrieve.encoders import CrossEncoder

logger = logging.getLogger(__name__)


class Reranker(CandidateReranker):
    """Reranker with a cross-encoder, which reads query and document together (Nogueira and Cho 2019).

    The pairs of a block of queries are scored together, batched by length; equal pairs of texts are scored once.

    Parameters
    ----------
    model
        A `CrossEncoder` with one label.
    weight
        See `CandidateReranker`. By default that in the checkpoint (`CarriedWeight`), which differs between the
        collection where it was tuned and others; 0 for a checkpoint without one.
    passages, overlap
        See `CandidateReranker`.
    """

    of = staticmethod(FunctionReranker)

    def __init__(
        self, model: "CrossEncoder", *, weight: float | None = None, passages: Passages = "first", overlap: int = 32
    ) -> None:
        if not callable(getattr(model, "predict", None)) or isinstance(model, type):
            raise InputError(f"model must be a loaded CrossEncoder, not {shown(model)}: CrossEncoder(PATH)")
        if (labels := getattr(model, "labels", 1)) != 1:
            raise InputError(f"a reranker needs a cross-encoder with one label; this one has {labels}")
        self.model = model
        folder = getattr(getattr(model, "checkpoint", None), "folder", None)
        self._carried = CarriedWeight.read(folder) if weight is None and folder is not None else None
        self._last: tuple[object, float] | None = None
        if weight is None:
            weight = 0.0 if self._carried is None else self._carried.weight
        super().__init__(weight=weight, passages=passages, overlap=overlap, encoder=model)

    def weight_for(self, documents: Contents | Mapping[str, str]) -> float:
        """Return the weight of the first stage's score for hits of this collection; see `CarriedWeight`."""
        carried, last = self._carried, self._last
        # A weight that was set later is what the caller wants.
        if carried is None or self.weight != carried.weight:
            return self.weight
        if last is None or last[0] is not documents:
            weight = carried.for_documents(documents)
            if weight != carried.weight:
                logger.warning(
                    "the reranker %s was measured on the collection %r only: here the first stage's score has the "
                    "weight %g until another is stated or tuned (retrieve tune)",
                    self.model.checkpoint.name,
                    carried.collection,
                    weight,
                )
            self._last = last = documents, weight
        return last[1]

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        pairs = [(queries[row], texts[place]) for row, place in zip(rows.tolist(), places.tolist(), strict=True)]
        scores = self.model.predict(pairs)
        if scores.ndim > 1:
            raise InputError(f"a reranker needs a cross-encoder with one label; this one has {scores.shape[1]}")
        return scores
