"""What losses over cross-encoder scores share: which pairs of texts are scored, and how lists are laid out."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from indexing.errors import InputError
from pipelines.training.model import trained

Columns: TypeAlias = Sequence[Sequence[Any]]
Pair: TypeAlias = tuple[str, str]


class ScoreLoss(nn.Module):
    """A loss over the logits of query-document pairs.

    Parameters
    ----------
    model
        A `CrossEncoder`, or whatever can be called with (query, document) pairs and gives their logits, float32
        [pairs, labels], with gradients.
    activation
        Applied to the logits first (nothing).
    """

    def __init__(self, model: Any, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.activation = trained(model), activation

    def forward(self, columns: Columns, labels: Any = None) -> Tensor:
        """Score the pairs of the batch, and give the loss."""
        columns = [list(column) for column in columns]
        logits = self.model(self.pairs(columns))
        return self.loss_from_logits(self.activation(logits) if self.activation else logits, columns, labels)

    def pairs(self, columns: Columns) -> list[Pair]:
        """Say which pairs are scored, from the texts of each column."""
        raise NotImplementedError

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Give the loss of logits [pairs, labels], in the order of `pairs`."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """The loss's own arguments, for the model card."""
        plain = {
            name: value
            for name, value in vars(self).items()
            if name not in ("model", "training") and not name.startswith("_") and not isinstance(value, nn.Module)
        }
        modules = {name: type(module).__name__ for name, module in self.named_children() if name != "model"}
        return plain | modules


class PointwiseLoss(ScoreLoss):
    """Reads (text, text) with a label."""

    def pairs(self, columns: Columns) -> list[Pair]:
        """Pair the two columns."""
        need_columns(columns, 2, 2, type(self).__name__, "query, document, with a label")
        need_texts(columns, type(self).__name__)
        return list(zip(columns[0], columns[1], strict=True))


class TupleLoss(ScoreLoss):
    """Reads (query, positive, negative ...): one document a column."""

    def pairs(self, columns: Columns) -> list[Pair]:
        """Pair the query with each document, column after column."""
        need_columns(columns, 2, None, type(self).__name__, "query, positive[, negative ...]")
        need_texts(columns, type(self).__name__)
        return [pair for documents in columns[1:] for pair in zip(columns[0], documents, strict=True)]


class ListwiseLoss(ScoreLoss):
    """Reads (query, list of documents) with a list of labels; the lists may be of different lengths."""

    def pairs(self, columns: Columns) -> list[Pair]:
        """Pair each query with its documents."""
        need_columns(columns, 2, 2, type(self).__name__, "query, list of documents, with a list of labels")
        if any(isinstance(documents, str) for documents in columns[1]):
            raise InputError(f"{type(self).__name__} needs lists of documents in its second column, and it holds texts")
        return [
            (query, document) for query, documents in zip(columns[0], columns[1], strict=True) for document in documents
        ]

    def loss_from_logits(self, logits: Tensor, columns: Columns, labels: Any) -> Tensor:
        """Lay logits and labels out in rows, and give the loss."""
        lengths = [len(documents) for documents in columns[1]]
        given = [len(of_one) for of_one in labels] if labels is not None else []
        if given != lengths:
            raise InputError(
                f"{type(self).__name__} needs a label for each document: the lists of documents have {lengths} "
                f"entries, the lists of labels {given}"
            )
        if not sum(lengths):
            return logits.sum() * 0.0
        flat = torch.cat([torch.as_tensor(of_one, dtype=torch.float32) for of_one in labels]).to(logits.device)
        mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
        mask = mask.to(logits.device)
        scores = logits.new_zeros(mask.shape, dtype=torch.float32).masked_scatter(mask, logits.reshape(-1).float())
        return self.loss_from_lists(scores, torch.zeros_like(scores).masked_scatter(mask, flat), mask)

    def loss_from_lists(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Give the loss of scores and labels [queries, documents]; what `mask` leaves out is 0 in both."""
        raise NotImplementedError


def need_columns(columns: Columns, least: int, most: int | None, name: str, example: str) -> None:
    """Refuse another number of columns than the loss reads."""
    if len(columns) < least or (most is not None and len(columns) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise InputError(f"{name} reads {wanted} columns ({example}); the data has {len(columns)}")


def need_texts(columns: Columns, name: str) -> None:
    """Refuse lists of documents where a loss reads one a column."""
    if not all(isinstance(column[0], str) for column in columns if column):
        raise InputError(f"{name} reads one document a column, and the data has lists of them; ListNetLoss reads lists")


def one_score(logits: Tensor, name: str) -> Tensor:
    """Give the scores [pairs] of a model with one label."""
    if logits.ndim == 2 and logits.shape[1] != 1:
        raise InputError(f"{name} needs a model with one label; this one has {logits.shape[1]}")
    return logits.reshape(-1)


def as_labels(labels: Any, name: str) -> Tensor:
    """Give labels as a tensor.

    Raises
    ------
    InputError
        When there are none, or lists of different lengths.
    """
    if labels is None:
        raise InputError(f"{name} needs labels: a column named label, labels, score or scores")
    if isinstance(labels, Tensor):
        return labels
    try:
        return torch.stack([torch.as_tensor(of_one) for of_one in labels])
    except RuntimeError as error:
        raise InputError(f"{name} needs as many labels in each row: {error}") from error
