"""Encoders beside sentence-transformers: vectors, term weights and scores of pairs.

Four sides stand loaded in a process each and run by turns: ours as it comes, ours in float32, theirs as it comes
(float32, batches of 32), and theirs at its best: the fastest 16-bit type of the device and the best of four batch
sizes, found beforehand.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Job, Row, Side, by_turns

BATCH_SIZES = (16, 32, 64, 128)
DEFAULT_BATCH_SIZE = 32
WARM_UP = 64
"""Texts run once before anything is timed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an encoding task compares, and by what it says that the two agree."""

    task: str
    ours: Callable[..., Job]
    theirs: Callable[..., Job]
    agreement: Callable[[Any, Any], float]
    agreement_name: str


def compare(
    comparison: Comparison, model: str, inputs: Sequence[Any], *, device: str, repeats: int, threads: int | None = None
) -> list[Row]:
    """Time both on `inputs`: against their default, their best, and float32 against float32."""
    fast = best_dtype(device)
    with Side(comparison.theirs, model, inputs, fast, device, threads=threads) as sweep:
        taken = {size: sweep.run(size) for size in BATCH_SIZES}
        sweep.finish()
    batch_size = min(taken, key=lambda size: taken[size])
    with ExitStack() as stack:
        # Ours, ours in float32, theirs as it comes, theirs at its best.
        sides = [
            stack.enter_context(side)
            for side in (
                Side(comparison.ours, model, inputs, "auto", device, threads=threads),
                Side(comparison.ours, model, inputs, "float32", device, threads=threads),
                Side(comparison.theirs, model, inputs, "float32", device, threads=threads),
                Side(comparison.theirs, model, inputs, fast, device, batch_size, threads=threads),
            )
        ]
        by_turns(sides, repeats)
        results = [side.finish() for side in sides]
    reference = results[2][0]
    rows: list[Row] = []
    for setting, (mine, peer), detail in (
        ("default", (0, 2), f"float32, batches of {DEFAULT_BATCH_SIZE}"),
        ("best", (0, 3), f"{fast}, batches of {batch_size}"),
        ("float32", (1, 2), f"float32 on both sides, batches of {DEFAULT_BATCH_SIZE}"),
    ):
        rows.append(
            {
                "task": comparison.task,
                "peer": "sentence-transformers",
                "setting": setting,
                "ratio": sides[peer].median / sides[mine].median,
                "agreement": comparison.agreement(results[mine][0], reference),
                "ours_s": sides[mine].median,
                "theirs_s": sides[peer].median,
                "ours_peak_mb": results[mine][1],
                "theirs_peak_mb": results[peer][1],
                "detail": f"{len(inputs)} inputs; theirs: {detail}; agreement: {comparison.agreement_name}",
            }
        )
    return rows


def best_dtype(device: str) -> str:
    """Give the type in which sentence-transformers is fastest: float16 on a GPU, bfloat16 on a fast processor."""
    import torch

    from retrieve.encoders.kernels.precision import has_fast_bfloat16

    if device != "cpu":
        return "float16"
    return "bfloat16" if has_fast_bfloat16(torch.device("cpu")) else "float32"


def least_cosine(ours: Any, theirs: Any) -> float:
    """Give the least cosine of a row of ours to theirs."""
    if isinstance(ours, csr_matrix):
        products, lengths = ours.multiply(theirs).sum(axis=1).A1, [_lengths(ours), _lengths(theirs)]
    else:
        products, lengths = (ours * theirs).sum(axis=1), [np.linalg.norm(side, axis=1) for side in (ours, theirs)]
    return float((products / np.maximum(lengths[0] * lengths[1], 1e-12)).min())


def largest_difference(ours: Any, theirs: Any) -> float:
    """Give the largest difference of a score of ours to theirs."""
    return float(np.abs(ours - theirs).max())


def ours_dense(model: str, texts: list[str], dtype: str, device: str) -> Job:
    """Load our DenseEncoder."""
    from retrieve.encoders import DenseEncoder

    encoder = DenseEncoder(model, dtype=dtype, device=device)
    encoder.encode(texts[:WARM_UP])
    return lambda: encoder.encode(texts), np.asarray


def theirs_dense(model: str, texts: list[str], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE) -> Job:
    """Load their SentenceTransformer."""
    from sentence_transformers import SentenceTransformer

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder = SentenceTransformer(model, device=device, model_kwargs={"dtype": dtype})
    encoder.encode(texts[:WARM_UP])
    return (
        lambda size=batch_size: encoder.encode(texts, batch_size=size, show_progress_bar=False),
        lambda vectors: np.asarray(vectors, np.float32),
    )


def ours_sparse(model: str, texts: list[str], dtype: str, device: str) -> Job:
    """Load our SparseEncoder."""
    from retrieve.encoders import SparseEncoder

    encoder = SparseEncoder(model, dtype=dtype, device=device)
    encoder.encode(texts[:WARM_UP])
    return lambda: encoder.encode(texts), csr_matrix


def theirs_sparse(model: str, texts: list[str], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE) -> Job:
    """Load their SparseEncoder."""
    from sentence_transformers import SparseEncoder

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder = SparseEncoder(model, device=device, model_kwargs={"dtype": dtype})
    encoder.encode(texts[:WARM_UP])
    return lambda size=batch_size: encoder.encode(texts, batch_size=size, show_progress_bar=False), _rows_of_coo


def ours_pairs(model: str, pairs: list[tuple[str, str]], dtype: str, device: str) -> Job:
    """Load our CrossEncoder."""
    from retrieve.encoders import CrossEncoder

    encoder = CrossEncoder(model, dtype=dtype, device=device)
    encoder.predict(pairs[:WARM_UP])
    return lambda: encoder.predict(pairs), np.asarray


def theirs_pairs(
    model: str, pairs: list[tuple[str, str]], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE
) -> Job:
    """Load their CrossEncoder."""
    from sentence_transformers import CrossEncoder

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder = CrossEncoder(model, device=device, model_kwargs={"dtype": dtype})
    encoder.predict(pairs[:WARM_UP])
    return lambda size=batch_size: encoder.predict(pairs, batch_size=size, show_progress_bar=False), np.asarray


DENSE = Comparison("encode", ours_dense, theirs_dense, least_cosine, "least cosine to theirs in float32")
SPARSE = Comparison("encode-sparse", ours_sparse, theirs_sparse, least_cosine, "least cosine to theirs in float32")
PAIRS = Comparison("rerank", ours_pairs, theirs_pairs, largest_difference, "largest difference to theirs in float32")


def _lengths(rows: csr_matrix) -> Any:
    return np.sqrt(rows.multiply(rows).sum(axis=1)).A1


def _rows_of_coo(weights: Any) -> csr_matrix:
    weights = weights.coalesce().cpu()
    rows, columns = weights.indices().numpy()
    return csr_matrix((weights.values().float().numpy(), (rows, columns)), shape=tuple(weights.shape))
