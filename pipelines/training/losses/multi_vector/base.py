"""Base class of losses over token vectors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from indexing.errors import InputError
from indexing.inputs import require_positive
from pipelines.training.losses.base import EmbeddingLoss, Features, row_ranges
from pipelines.training.losses.multi_vector.scores import is_token
from pipelines.training.model import concatenate_rows

Score: TypeAlias = Callable[..., Tensor]
"""A function of `scores.py`, or one with the same arguments."""


class MultiVectorLoss(EmbeddingLoss):
    """Base class of losses over the token vectors of a batch's columns; the first column holds the queries.

    Parameters
    ----------
    model
        A `MultiVectorEncoder`.
    similarity_fct
        Function that scores queries and documents; "maxsim" or "meanmaxsim" (divided by the number of the query's
        tokens) by name. None for MaxSim.
    mini_batch_size
        Rows of a column embedded at a time; None for all. The result is the same.
    """

    score_functions: ClassVar[dict[str, Score]]

    def __init__(self, model: Any, similarity_fct: Score | str | None, mini_batch_size: int | None) -> None:
        super().__init__(model)
        require_positive(mini_batch_size=mini_batch_size)
        self.mini_batch_size = mini_batch_size
        chosen = similarity_fct or "maxsim"
        if isinstance(chosen, str) and chosen not in self.score_functions:
            raise InputError(f"unknown similarity_fct {chosen!r}: there are {', '.join(self.score_functions)}")
        self.similarity_fct: Score = self.score_functions[chosen] if isinstance(chosen, str) else chosen

    def embed(self, column: Features) -> Tensor:
        """Return the token vectors of a column, [rows, tokens, dim]; those of tokens that do not count are zeros."""
        pieces = row_ranges(column, self.mini_batch_size) if self.mini_batch_size else [column]
        parts = []
        for piece in pieces:
            features = self.model(piece)
            parts.append(features["token_embeddings"] * features["attention_mask"][..., None])
        return concatenate_rows(parts)

    def scores(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Return the scores by `similarity_fct`."""
        scores: Tensor = self.similarity_fct(
            queries, documents, queries_mask=is_token(queries), documents_mask=is_token(documents)
        )
        return scores

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the loss, for the model card."""
        function = self.similarity_fct.func if isinstance(self.similarity_fct, partial) else self.similarity_fct
        name = getattr(function, "__name__", None) or repr(function)
        return {"similarity_fct": name, **super().settings}


def stacked(documents: Sequence[Tensor]) -> Tensor:
    """Return columns of documents [rows, tokens, dim] as [rows, columns, tokens, dim], padded with zeros."""
    rows = len(documents[0])
    return torch.stack(list(concatenate_rows(documents).split(rows)), dim=1)
