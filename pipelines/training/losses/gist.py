"""GIST: leave out in-batch negatives that a guide encoder considers positives."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from indexing.errors import InputError
from pipelines.training.losses.base import Features, SplitLoss, check_columns, gather_rows, row_slices
from pipelines.training.losses.similarity import all_pairs


class Guide(Protocol):
    """Protocol of the guide: an encoder, used without gradients."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors [texts, width]."""


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
    """Return the loss of each row, [rows].

    It is the cross-entropy, over cosine / temperature, of anchor i's own positive among all positives, the anchors (for
    anchor i), the positives (for positive i) and the negatives. With g the guide's similarity of anchor i and positive
    i, a pair is left out if its similarity under the guide is above g - margin (absolute) or g - margin * abs(g)
    (relative).

    Parameters
    ----------
    embeddings
        Anchors, positives and any number of columns of negatives, each [n, width].
    guides
        The guide's vectors of the same texts.
    rows
        Rows to compute the loss of (all).

    References
    ----------
    Solatorio, "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning", 2024.
    """
    rows = rows or slice(None)
    own = torch.arange(len(embeddings[0]), device=embeddings[0].device)[rows]
    at = torch.arange(len(own), device=own.device)
    # Pairs of columns to compare: (anchors, positives), (anchors, anchors), …
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


class GISTEmbedLoss(SplitLoss):
    """`gist` of (anchor, positive[, negative ...]), with an encoder as the guide.

    Parameters
    ----------
    guide
        A `DenseEncoder`; it encodes the texts itself, so its tokenizer may differ from the model's.
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
        """Return the guide's vectors of each column's texts."""
        return [torch.as_tensor(self._guide.encode(column["texts"])) for column in columns]

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield addends of the mean over the rows, each over some of the anchors."""
        check_columns(embeddings, 2, None, type(self).__name__, "anchor, positive[, negative ...]")
        guides = [guide.to(embeddings[0].device) for guide in labels]
        if self.gather_across_devices:
            guides = [gather_rows(guide)[0] for guide in guides]
        for columns, part in row_slices(embeddings, rows, gather=self.gather_across_devices):
            losses = gist(
                columns,
                guides,
                rows=part,
                temperature=self.temperature,
                margin_strategy=self.margin_strategy,
                margin=self.margin,
                contrast_anchors=self.contrast_anchors,
                contrast_positives=self.contrast_positives,
            )
            yield losses.sum() / len(embeddings[0])
