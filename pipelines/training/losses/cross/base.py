"""Base classes and helpers of losses over cross-encoder scores: the pairs to score and the layout of lists."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from indexing.errors import InputError
from pipelines.training.losses.base import check_columns
from pipelines.training.model import trained

Columns: TypeAlias = Sequence[Sequence[Any]]
Pair: TypeAlias = tuple[str, str]


class ScoreLoss(nn.Module, ABC):
    """Base class of losses over the logits of query-document pairs.

    Parameters
    ----------
    model
        A `CrossEncoder`, or any callable that maps (query, document) pairs to their logits, float32 [pairs, labels],
        with gradients.
    activation
        Applied to the logits first; None for none.
    """

    def __init__(self, model: Any, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.activation = trained(model), activation

    def forward(self, columns: Columns, labels: Any = None) -> Tensor:
        """Score the pairs of the batch and return the loss."""
        columns = [list(column) for column in columns]
        return self.loss_from_logits(self.activated(self.model(self.pairs(columns))), columns, labels)

    def activated(self, logits: Tensor) -> Tensor:
        """Apply the activation."""
        return self.activation(logits) if self.activation else logits

    @abstractmethod
    def pairs(self, columns: Columns) -> list[Pair]:
        """Return the pairs to score, made of the texts of each column."""

    @abstractmethod
    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Return the loss of logits [pairs, labels], in the order of `pairs`."""

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the loss, for the model card."""
        plain = {
            name: value
            for name, value in vars(self).items()
            if name not in ("model", "training") and not name.startswith("_") and not isinstance(value, nn.Module)
        }
        modules = {name: type(module).__name__ for name, module in self.named_children() if name != "model"}
        return plain | modules


class PointwiseLoss(ScoreLoss):
    """Base class of losses that read (text, text) with a label."""

    def pairs(self, columns: Columns) -> list[Pair]:
        """Return the rows of the two columns."""
        check_columns(columns, 2, 2, type(self).__name__, "query, document, with a label")
        check_texts(columns, type(self).__name__)
        return list(zip(columns[0], columns[1], strict=True))


class TupleLoss(ScoreLoss):
    """Base class of losses that read (query, positive, negative ...): one document per column."""

    def pairs(self, columns: Columns) -> list[Pair]:
        """Pair the query with each document, column after column."""
        check_columns(columns, 2, None, type(self).__name__, "query, positive[, negative ...]")
        check_texts(columns, type(self).__name__)
        return [pair for documents in columns[1:] for pair in zip(columns[0], documents, strict=True)]


class ListwiseLoss(ScoreLoss):
    """Base class of losses that read (query, list of documents) with a list of labels; lists may differ in length."""

    def pairs(self, columns: Columns) -> list[Pair]:
        """Pair each query with its documents."""
        check_columns(columns, 2, 2, type(self).__name__, "query, list of documents, with a list of labels")
        if any(isinstance(documents, str) for documents in columns[1]):
            raise InputError(f"{type(self).__name__} needs lists of documents in its second column, and it holds texts")
        return [
            (query, document) for query, documents in zip(columns[0], columns[1], strict=True) for document in documents
        ]

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Pad the lists to a rectangle and return the loss."""
        lengths = [len(documents) for documents in columns[1]]
        label_lengths = [len(row) for row in labels] if labels is not None else []
        if label_lengths != lengths:
            raise InputError(
                f"{type(self).__name__} needs a label for each document: the lists of documents have {lengths} "
                f"entries, the lists of labels {label_lengths}"
            )
        if not sum(lengths):
            return logits.sum() * 0.0
        flat = torch.cat([torch.as_tensor(row, dtype=torch.float32) for row in labels]).to(logits.device)
        mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
        mask = mask.to(logits.device)
        scores = logits.new_zeros(mask.shape, dtype=torch.float32).masked_scatter(mask, logits.reshape(-1).float())
        return self.loss_from_lists(scores, torch.zeros_like(scores).masked_scatter(mask, flat), mask)

    @abstractmethod
    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of scores and labels [queries, documents], both 0 where `mask` is False (padding)."""


def check_texts(columns: Columns, name: str) -> None:
    """Raise InputError if a column holds lists of documents instead of texts."""
    if not all(isinstance(column[0], str) for column in columns if column):
        raise InputError(
            f"{name} reads one document per column, and the data has lists of them; ListNetLoss reads lists"
        )


def single_scores(logits: Tensor, name: str) -> Tensor:
    """Return the scores [pairs] of a model with one label."""
    if logits.ndim == 2 and logits.shape[1] != 1:
        raise InputError(f"{name} needs a model with one label; this one has {logits.shape[1]}")
    return logits.reshape(-1)


def as_labels(labels: Any, name: str) -> Tensor:
    """Return labels as a tensor.

    Raises
    ------
    InputError
        Without labels, or if they are lists of different lengths.
    """
    if labels is None:
        raise InputError(f"{name} needs labels: a column named label, labels, score or scores")
    if isinstance(labels, Tensor):
        return labels
    try:
        return torch.stack([torch.as_tensor(row) for row in labels])
    except RuntimeError as error:
        raise InputError(f"{name} needs the same number of labels in each row: {error}") from error
