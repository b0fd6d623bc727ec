"""The end of training in several widths: the layer that turns the vectors is fitted once more, to all rows at once.

A step of training sees the documents of one batch, and what the first dimensions must tell apart are all documents. To
fit one layer, vectors that were made once are enough: every document of the rows is then a negative of every query, and
that takes seconds.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.training.losses.similarity import all_pairs
from pipelines.training.recipes.rotation import principal_axes
from pipelines.training.roles import roles

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

logger = logging.getLogger(__name__)

MOST_ROWS, LEAST_ROWS = 4096, 1024
"""Rows that are read; with fewer than the second a layer of this size learns them by heart."""
HELD_OUT = 10
"""One row in so many is not fitted to: whether the fit is kept is measured by these."""
BATCH, EPOCHS, LEARNING_RATE, SCALE = 256, 3, 5e-4, 20.0


def fit_last_layer(
    encoder: "DenseEncoder",
    widths: Sequence[int],
    rows: Any,
    *,
    seed: int,
    computing: AbstractContextManager[Any] | None = None,
) -> tuple[float, float] | None:
    """Fit the linear layer at the end of a dense encoder by the ranking of all documents, in each of `widths`.

    Parameters
    ----------
    rows
        (query, positive[, …]); of more than `MOST_ROWS` so many are read, spread evenly.
    seed
        Of the order of the rows.
    computing
        Within which the rows are encoded: autocast.

    Returns
    -------
    tuple of float, or None
        The mean reciprocal rank of held-out rows' positives among all that were read, over the widths: before, and with
        the layer fitted. It is put into the encoder when it is the higher one. None where there is nothing to fit: no
        such layer, no cosines, labels among the rows, or too few of them.
    """
    found, layer = roles(rows.column_names), _last_layer(encoder)
    if layer is None or encoder.similarity != "cosine" or found.label is not None or len(found.inputs) < 2:
        return None
    if len(rows) > MOST_ROWS:
        rows = rows.select(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64))
    asked, right = (list(rows[name]) for name in found.inputs[:2])
    if len(asked) < LEAST_ROWS or not all(isinstance(text, str) for text in (*asked, *right)):
        return None
    places = {text: place for place, text in enumerate(dict.fromkeys(right))}
    with computing or nullcontext():
        queries, documents = (
            torch.from_numpy(np.asarray(encode(texts, normalize=True, show_progress=False), dtype=np.float32))
            for encode, texts in ((encoder.encode_query, asked), (encoder.encode_document, list(places)))
        )
    targets = torch.tensor([places[text] for text in right])
    held = torch.arange(len(asked)) % HELD_OUT == 0

    def quality(turn: Tensor) -> float:
        return float(np.mean([_ranked(queries[held] @ turn.T, documents @ turn.T, targets[held], k) for k in widths]))

    before = quality(torch.eye(encoder.dimension))
    fitted = _fitted(queries[~held], documents, targets[~held], widths, seed)
    after = quality(fitted)
    logger.info("the last layer, fitted to %d rows: MRR of held-out rows %.4f, was %.4f", len(asked), after, before)
    if after > before:
        with torch.no_grad():
            layer.weight.copy_(fitted.to(layer.weight) @ layer.weight)
    return before, after


def _fitted(queries: Tensor, documents: Tensor, targets: Tensor, widths: Sequence[int], seed: int) -> Tensor:
    """Give the matrix that turns vectors so that the right document comes first among all, [dimension, dimension]."""
    turn = nn.Parameter(torch.from_numpy(principal_axes(documents.numpy())))
    optimizer = torch.optim.AdamW([turn], lr=LEARNING_RATE, weight_decay=0.0)
    batches = max(1, len(queries) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * batches, pct_start=0.1, anneal_strategy="linear"
    )
    drawing = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for some in torch.randperm(len(queries), generator=drawing).chunk(batches):
                asked, read = queries[some] @ turn.T, documents @ turn.T
                losses = [
                    cross_entropy(SCALE * all_pairs("cosine", asked[:, :width], read[:, :width]), targets[some])
                    for width in widths
                ]
                optimizer.zero_grad()
                torch.stack(losses).sum().backward()
                optimizer.step()
                schedule.step()
    return turn.detach()


def _ranked(queries: Tensor, documents: Tensor, targets: Tensor, width: int) -> float:
    """Give the mean reciprocal rank of the right documents, behind those of equal score: all alike are no ranking."""
    scores = all_pairs("cosine", queries[:, :width], documents[:, :width])
    own = scores.gather(1, targets[:, None])
    return float((1.0 / (scores >= own).sum(dim=1)).mean())


def _last_layer(encoder: Any) -> nn.Linear | None:
    """Give the linear layer that makes an encoder's vectors, whatever normalises them after it."""
    from retrieve.encoders.modules.dense import Dense
    from retrieve.encoders.modules.normalize import Normalize

    modules = [module for module in encoder.modules if not isinstance(module, Normalize)]
    last = modules[-1] if modules else None
    if not isinstance(last, Dense) or last.use_residual or not isinstance(last.activation, nn.Identity):
        return None
    if last.linear.bias is not None or last.linear.out_features != encoder.dimension:
        return None
    return last.linear
