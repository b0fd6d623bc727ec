"""Base classes and helpers of losses over embeddings: one embedding per column of a row, often with a label."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.training.model import token_counts, trained

logger = logging.getLogger(__name__)

Features: TypeAlias = dict[str, Any]
Loss: TypeAlias = Tensor | dict[str, Tensor]
"""A scalar, or scalars by name, which are summed and logged separately."""

Column = TypeVar("Column")


class EmbeddingLoss(nn.Module, ABC):
    """Base class of losses over the embeddings of a batch's columns.

    `forward` embeds each column with the model. `loss_from_embeddings` computes the loss; it is what wrapper losses
    (Matryoshka, SPLADE, gradient caching) call.

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
        """Embed the columns and return the loss."""
        columns = list(columns)
        embeddings = [self.embed(column) for column in columns]
        return self.loss_from_embeddings(embeddings, self.targets(columns, labels))

    def embed(self, column: Features) -> Tensor:
        """Return the embeddings of a column, [rows, width] (multi-vector losses: [rows, tokens, dim])."""
        embeddings: Tensor = self.model(column)["sentence_embedding"]
        return embeddings

    @abstractmethod
    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Loss:
        """Return the loss of embeddings [rows, width], one tensor per column, and the result of `targets`."""

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield addends of the loss, each over at most `rows` rows if the loss can be split by rows."""
        yield total(self.loss_from_embeddings(embeddings, labels))

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> Any:
        """Return the targets of `loss_from_embeddings`: by default the labels."""
        return labels

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the loss, for the model card."""
        return {name: value for name, value in vars(self).items() if _is_plain(name, value)}


class SplitLoss(EmbeddingLoss):
    """Base class of losses that are computed in parts: subclasses implement `parts`."""

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the sum of all parts."""
        return torch.stack(list(self.parts(embeddings, labels, len(embeddings[0])))).sum()

    @abstractmethod
    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield addends of the loss, each over at most `rows` rows."""


class WrapperLoss(EmbeddingLoss):
    """Base class of losses that build on another loss, `loss`, with the same targets."""

    def __init__(self, model: Any, loss: EmbeddingLoss) -> None:
        super().__init__(model)
        self.loss = loss

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Loss:
        """Embed the columns and return the loss; with gradient caching if a loss inside has it."""
        caching = self.caching()
        return super().forward(columns, labels) if caching is None else caching.forward_of(self, columns, labels)

    def embed(self, column: Features) -> Tensor:
        """Return the embeddings that the inner loss reads."""
        return self.loss.embed(column)

    def caching(self) -> Any:
        """Return the loss among this one and those inside it that caches gradients (`CachedLoss`), or None."""
        return self.loss.caching() if isinstance(self.loss, WrapperLoss) else None

    def warn_of_caching(self) -> None:
        """Warn that this loss embeds whole batches although a loss inside it caches gradients."""
        if self.caching() is not None:
            logger.warning(
                "%s embeds each batch at once: the gradient caching of the loss inside it has no effect",
                type(self).__name__,
            )

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> Any:
        """Return the targets of the inner loss."""
        return self.loss.targets(columns, labels)

    @property
    def settings(self) -> dict[str, Any]:
        """Own arguments and, prefixed with ``loss.``, those of the inner loss."""
        inner = {f"loss.{name}": value for name, value in self.loss.settings.items()}
        return super().settings | {"loss": type(self.loss).__name__} | inner


def total(loss: Loss) -> Tensor:
    """Return the sum of a loss of several parts."""
    return sum(loss.values(), start=torch.zeros(())) if isinstance(loss, dict) else loss


def row_labels(labels: Tensor | None, rows: int, name: str) -> Tensor:
    """Return one label per row, [rows].

    Raises
    ------
    InputError
        Without labels, or if their number differs from `rows`.
    """
    if labels is None:
        raise InputError(f"{name} needs labels: a column named label, labels, score or scores")
    if labels.numel() != rows:
        raise InputError(
            f"{name} needs one label per row: {counted(rows, 'row')}, labels of shape {tuple(labels.shape)}"
        )
    return labels.reshape(-1)


def check_columns(columns: Sequence[Column], least: int, most: int | None, name: str, example: str) -> Sequence[Column]:
    """Return `columns` unchanged; raise InputError if the loss `name` reads another number of them."""
    if len(columns) < least or (most is not None and len(columns) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise InputError(f"{name} reads {wanted} columns ({example}); the data has {len(columns)}")
    return columns


def row_slices(embeddings: Sequence[Tensor], rows: int, *, gather: bool) -> Iterator[tuple[list[Tensor], slice]]:
    """Yield the columns and slices of at most `rows` rows, which together cover this process's rows.

    With `gather` the columns hold the rows of all training processes. They are gathered anew for each slice, because
    backward frees the graph of a slice.
    """
    count, first, columns = len(embeddings[0]), 0, list(embeddings)
    for low in range(0, count, max(1, rows)):
        if gather:
            gathered = [gather_rows(column) for column in embeddings]
            columns, first = [column for column, _ in gathered], gathered[0][1]
        yield columns, slice(first + low, first + min(low + rows, count))


def row_ranges(column: Features, size: int, max_tokens: int | None = None) -> list[Features]:
    """Divide a column into pieces of `size` consecutive rows, or of at most `max_tokens` tokens (or one longer row)."""
    counts = token_counts(column).tolist()
    bounds = [*range(0, len(counts), size), len(counts)] if max_tokens is None else [*_token_bounds(counts, max_tokens)]
    return [_rows(column, low, high) for low, high in pairwise(bounds)]


def gather_rows(vectors: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all training processes, with gradients, and the position of this process's first row."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return vectors, 0
    from torch.distributed.nn.functional import all_gather

    if vectors.ndim == 3:
        width = torch.tensor(vectors.shape[1], device=vectors.device)
        torch.distributed.all_reduce(width, torch.distributed.ReduceOp.MAX)
        vectors = nn.functional.pad(vectors, (0, 0, 0, int(width) - vectors.shape[1]))
    return torch.cat(list(all_gather(vectors))), torch.distributed.get_rank() * len(vectors)


def _rows(column: Features, low: int, high: int) -> Features:
    """Return some rows of a column, without the padding that only longer rows need."""
    mask = column["attention_mask"]
    tokens = mask | column["expansion_mask"] if "expansion_mask" in column else mask
    used = tokens[low:high].any(dim=0).nonzero()
    width = int(used[-1]) + 1 if len(used) else mask.shape[1]
    part: Features = {}
    for name, value in column.items():
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == mask.shape[1]:
            part[name] = value[low:high, :width]
        else:
            part[name] = value[low:high] if isinstance(value, Tensor | list) else value
    return part


def _token_bounds(lengths: Sequence[int], budget: int) -> Iterator[int]:
    """Yield the bounds of consecutive rows of at most `budget` tokens, or of one longer row."""
    tokens = 0
    yield 0
    for row, length in enumerate(lengths):
        if tokens and tokens + length > budget:
            yield row
            tokens = 0
        tokens += length
    yield len(lengths)


def _is_plain(name: str, value: Any) -> bool:
    return (
        not name.startswith("_") and name != "training" and isinstance(value, str | int | float | tuple | list | None)
    )
