"""What losses over embeddings share: each row of the data gives one embedding a column, and often a label."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from indexing.errors import InputError
from pipelines.training.model import trained

Features: TypeAlias = dict[str, Any]
Loss: TypeAlias = Tensor | dict[str, Tensor]
"""One number, or several by name that are summed, each of which is logged."""


class EmbeddingLoss(nn.Module):
    """A loss over the embeddings of a batch's columns.

    `forward` embeds each column with the model; `loss_from_embeddings` is the loss itself, and what other losses
    (Matryoshka, SPLADE, gradient caching) wrap.

    Parameters
    ----------
    model
        A `DenseEncoder` or `SparseEncoder`, or a module that maps the features of a column to features with
        ``sentence_embedding`` [rows, width].
    """

    model: nn.Module

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = trained(model)

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Loss:
        """Embed the columns and give the loss."""
        columns = list(columns)
        embeddings = [self.model(column)["sentence_embedding"] for column in columns]
        return self.loss_from_embeddings(embeddings, self.targets(columns, labels))

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Loss:
        """Give the loss of embeddings [rows, width], one tensor a column, and of what `targets` gave."""
        raise NotImplementedError

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Give the loss in parts that sum up to it, each of at most `rows` rows where the loss can be cut so."""
        yield total(self.loss_from_embeddings(embeddings, labels))

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> Any:
        """Give what the embeddings are compared with; the labels, unless the loss makes it from the texts."""
        return labels

    @property
    def settings(self) -> dict[str, Any]:
        """The loss's own arguments, for the model card."""
        return {name: value for name, value in vars(self).items() if _is_plain(name, value)}


def total(loss: Loss) -> Tensor:
    """Sum a loss of several parts up."""
    return sum(loss.values(), start=torch.zeros(())) if isinstance(loss, dict) else loss


def row_labels(labels: Tensor | None, rows: int, name: str) -> Tensor:
    """Give one label a row, [rows].

    Raises
    ------
    InputError
        When there are none, or not as many as rows.
    """
    if labels is None:
        raise InputError(f"{name} needs labels: a column named label, labels, score or scores")
    if labels.numel() != rows:
        raise InputError(f"{name} needs one label a row: {rows} rows, labels of shape {tuple(labels.shape)}")
    return labels.reshape(-1)


def columns_of(embeddings: Sequence[Tensor], least: int, most: int | None, name: str, example: str) -> Sequence[Tensor]:
    """Give the embeddings back, when there are as many columns as the loss reads; else say what it reads."""
    if len(embeddings) < least or (most is not None and len(embeddings) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise InputError(f"{name} reads {wanted} columns ({example}); the data has {len(embeddings)}")
    return embeddings


def gathered(vectors: Tensor) -> tuple[Tensor, int]:
    """Give the rows of all processes that train together, with gradients, and where this process's begin."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return vectors, 0
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(vectors))), torch.distributed.get_rank() * len(vectors)


def _is_plain(name: str, value: Any) -> bool:
    return (
        not name.startswith("_") and name != "training" and isinstance(value, str | int | float | tuple | list | None)
    )
