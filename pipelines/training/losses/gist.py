"""GIST: in-batch negatives that a guide takes for positives are left out."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss, Features, columns_of, gathered
from pipelines.training.losses.similarity import all_pairs


class Guide(Protocol):
    """What guides: an encoder, for whose vectors no gradient is needed."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Give vectors [texts, width]."""


def gist(
    embeddings: Sequence[Tensor],
    guides: Sequence[Tensor],
    *,
    rows: slice | None = None,
    temperature: float = 0.01,
    margin_strategy: Literal["absolute", "relative"] = "absolute",
    margin: float = 0.0,
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
) -> Tensor:
    """Give the loss of each row: [rows].

    Cross-entropy, over cosine / temperature, of anchor i's own positive among all positives, the anchors (for
    anchor i), the positives (for positive i) and the negatives, less each pair whose similarity under the guide is
    above the guide's similarity g of anchor i and positive i, less the margin (absolute: g - margin, relative:
    g - margin * abs(g)).

    Parameters
    ----------
    embeddings
        Anchors, positives and any number of columns of negatives, each [n, width].
    guides
        The guide's vectors of the same texts.
    rows
        The rows wanted (all).

    References
    ----------
    Solatorio, "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning", 2024.
    """
    rows = rows or slice(None)
    own = torch.arange(len(embeddings[0]), device=embeddings[0].device)[rows]
    at = torch.arange(len(own), device=own.device)
    # Which column stands on the left, and which on the right.
    sides = [(0, 1), *([(0, 0)] if contrast_anchors else []), *([(1, 1)] if contrast_positives else [])]
    sides += [(0, column) for column in range(2, len(embeddings))]
    truth = all_pairs("cosine", guides[0][own], guides[1])[at, own, None]
    bound = truth - (margin if margin_strategy == "absolute" else margin * truth.abs())
    scores = []
    for left, right in sides:
        part = all_pairs("cosine", embeddings[left][own], embeddings[right])
        hidden = all_pairs("cosine", guides[left][own], guides[right]) > bound
        if (left, right) == (0, 1):
            hidden[at, own] = False
        scores.append(part.masked_fill(hidden, -torch.inf))
    logits = torch.cat(scores, dim=1) / temperature
    return torch.nn.functional.cross_entropy(logits, own, reduction="none")


class GISTEmbedLoss(EmbeddingLoss):
    """`gist` of (anchor, positive[, negative ...]), with an encoder as the guide.

    Parameters
    ----------
    guide
        A `DenseEncoder`; it reads the texts itself, so its tokenizer may be another.
    """

    def __init__(
        self,
        model: Any,
        guide: Guide,
        temperature: float = 0.01,
        *,
        margin_strategy: Literal["absolute", "relative"] = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(model)
        if margin_strategy not in ("absolute", "relative"):
            raise InputError(f"margin_strategy must be absolute or relative, not {margin_strategy!r}")
        if not temperature > 0:
            raise InputError(f"temperature must be above 0, not {temperature}")
        self._guide = guide
        self.temperature, self.margin_strategy, self.margin = temperature, margin_strategy, margin
        self.contrast_anchors, self.contrast_positives = contrast_anchors, contrast_positives
        self.gather_across_devices = gather_across_devices

    def targets(self, columns: Sequence[Features], labels: Tensor | None) -> list[Tensor]:
        """Give the guide's vectors of each column's texts."""
        return [torch.as_tensor(self._guide.encode(column["texts"])) for column in columns]

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Give the mean over the rows."""
        return torch.stack(list(self.parts(embeddings, labels, len(embeddings[0])))).sum()

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Cut the rows of anchors."""
        columns_of(embeddings, 2, None, type(self).__name__, "anchor, positive[, negative ...]")
        count, first = len(embeddings[0]), 0
        columns, guides = list(embeddings), [guide.to(embeddings[0].device) for guide in labels]
        if self.gather_across_devices:
            guides = [gathered(guide)[0] for guide in guides]
        for low in range(0, count, max(1, rows)):
            if self.gather_across_devices:
                both = [gathered(column) for column in embeddings]
                columns, first = [column for column, _ in both], both[0][1]
            losses = gist(
                columns,
                guides,
                rows=slice(first + low, first + min(low + rows, count)),
                temperature=self.temperature,
                margin_strategy=self.margin_strategy,
                margin=self.margin,
                contrast_anchors=self.contrast_anchors,
                contrast_positives=self.contrast_positives,
            )
            yield losses.sum() / count
