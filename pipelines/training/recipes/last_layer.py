"""Final step of Matryoshka training: fit the rotation layer once more, on all rows at once.

A training step sees only the documents of one batch, but the first dimensions have to distinguish all documents. A
single layer can be fitted on vectors that are computed once: then each document of the rows is a negative of each
query, and the fit takes seconds.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.mining.positives import numbered
from pipelines.training.losses.similarity import all_pairs
from pipelines.training.recipes.rotation import principal_axes
from pipelines.training.roles import roles

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

logger = logging.getLogger(__name__)

MAX_ROWS, MIN_ROWS = 4096, 1024
"""Rows that are used; on fewer than the second number, a layer of this size would overfit."""
HELD_OUT = 10
"""One of this many rows is held out, to decide whether the fitted layer is better."""
BATCH, EPOCHS, LEARNING_RATE, SCALE = 256, 3, 5e-4, 20.0


def fit_last_layer(
    encoder: "DenseEncoder",
    widths: Sequence[int],
    rows: Any,
    *,
    seed: int,
    computing: AbstractContextManager[Any] | None = None,
) -> tuple[float, float] | None:
    """Fit the last linear layer of a dense encoder to rank all documents, at each of `widths`.

    Parameters
    ----------
    rows
        (query, positive[, …]); of more than `MAX_ROWS`, that many evenly spaced ones are used.
    seed
        Seed of the order of the rows.
    computing
        Context manager for encoding the rows: autocast.

    Returns
    -------
    tuple of float, or None
        Mean reciprocal rank, averaged over the widths, of the positives of held-out rows among all documents: before,
        and with the fitted layer. The encoder gets the fitted layer if it is better. None if the encoder has no such
        layer or no cosine similarity, or the rows have labels or are too few.
    """
    columns, layer = roles(rows.column_names), _last_layer(encoder)
    if layer is None or encoder.similarity_fn_name != "cosine" or columns.label is not None or len(columns.inputs) < 2:
        return None
    if len(rows) > MAX_ROWS:
        rows = rows.select(np.linspace(0, len(rows) - 1, MAX_ROWS).astype(np.int64))
    query_texts, positives = (list(rows[name]) for name in columns.inputs[:2])
    if len(query_texts) < MIN_ROWS or not all(isinstance(text, str) for text in (*query_texts, *positives)):
        return None
    document_texts, codes = numbered(positives)
    with computing or nullcontext():
        queries, documents = (
            torch.from_numpy(np.asarray(encode(texts, normalize=True, show_progress=False), dtype=np.float32))
            for encode, texts in ((encoder.encode_query, query_texts), (encoder.encode_document, document_texts))
        )
    targets = torch.from_numpy(codes)
    held_out = torch.arange(len(query_texts)) % HELD_OUT == 0

    def quality(rotation: Tensor) -> float:
        rotated = queries[held_out] @ rotation.T, documents @ rotation.T
        return float(np.mean([_mean_reciprocal_rank(*rotated, targets[held_out], width) for width in widths]))

    before = quality(torch.eye(encoder.dimension))
    fitted = _fit(queries[~held_out], documents, targets[~held_out], widths, seed)
    after = quality(fitted)
    logger.info("last layer fitted to %d rows: MRR of held-out rows %.4f, before %.4f", len(codes), after, before)
    if after > before:
        with torch.no_grad():
            layer.weight.copy_(fitted.to(layer.weight) @ layer.weight)
    return before, after


def _fit(queries: Tensor, documents: Tensor, targets: Tensor, widths: Sequence[int], seed: int) -> Tensor:
    """Return the matrix [dimension, dimension] that best ranks each query's target first among all documents."""
    rotation = nn.Parameter(torch.from_numpy(principal_axes(documents.numpy())))
    optimizer = torch.optim.AdamW([rotation], lr=LEARNING_RATE, weight_decay=0.0)
    batches = max(1, len(queries) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * batches, pct_start=0.1, anneal_strategy="linear"
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(queries), generator=generator).chunk(batches):
                rotated, rotated_documents = queries[batch] @ rotation.T, documents @ rotation.T
                losses = [
                    cross_entropy(
                        SCALE * all_pairs("cosine", rotated[:, :width], rotated_documents[:, :width]), targets[batch]
                    )
                    for width in widths
                ]
                optimizer.zero_grad()
                torch.stack(losses).sum().backward()
                optimizer.step()
                schedule.step()
    return rotation.detach()


def _mean_reciprocal_rank(queries: Tensor, documents: Tensor, targets: Tensor, width: int) -> float:
    """Return the MRR of the target documents, ranked behind ties so that constant scores get the lowest value."""
    scores = all_pairs("cosine", queries[:, :width], documents[:, :width])
    own = scores.gather(1, targets[:, None])
    return float((1.0 / (scores >= own).sum(dim=1)).mean())


def _last_layer(encoder: Any) -> nn.Linear | None:
    """Return the linear layer that outputs an encoder's vectors, before any normalization; None if there is none."""
    from retrieve.encoders.modules.dense import Dense
    from retrieve.encoders.modules.normalize import Normalize

    modules = [module for module in encoder.modules if not isinstance(module, Normalize)]
    last = modules[-1] if modules else None
    if not isinstance(last, Dense) or last.use_residual or not isinstance(last.activation, nn.Identity):
        return None
    if last.linear.bias is not None or last.linear.out_features != encoder.dimension:
        return None
    return last.linear
