"""Time encoders beside sentence-transformers: vectors, term weights and scores of pairs.

Four sides run in alternation, each loaded in its own process: ours with its defaults, ours in float32, theirs with its
defaults (float32, batches of 32), and theirs at its best (the fastest number format of the device and the best of four
batch sizes, which a run beforehand determines).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Job, Row, Side, by_turns, timed_row

BATCH_SIZES = (16, 32, 64, 128)
DEFAULT_BATCH_SIZE = 32
WARM_UP = 64
"""Number of texts encoded before timing starts."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two sides of an encoding task and the measure of their agreement."""

    task: str
    ours: Callable[..., Job]
    theirs: Callable[..., Job]
    agreement: Callable[[Any, Any], float]
    agreement_name: str


def compare(
    comparison: Comparison, model: str, inputs: Sequence[Any], *, device: str, repeats: int, threads: int | None = None
) -> list[Row]:
    """Time both on `inputs`: ours beside their defaults, ours beside their best, and both in float32."""
    fast = best_dtype(device)
    with Side(comparison.theirs, model, inputs, fast, device, threads=threads) as sweep:
        taken = {size: sweep.run(size) for size in BATCH_SIZES}
        sweep.finish()
    batch_size = min(taken, key=lambda size: taken[size])
    with ExitStack() as stack:
        # Ours, ours in float32, theirs with its defaults, theirs at its best.
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
        agreement = comparison.agreement(results[mine][0], reference)
        detail = f"{len(inputs)} inputs; theirs: {detail}; agreement: {comparison.agreement_name}"
        medians, peaks = (sides[mine].median, sides[peer].median), (results[mine][1], results[peer][1])
        rows.append(timed_row(comparison.task, "sentence-transformers", setting, *medians, agreement, detail, peaks))
    return rows


def best_dtype(device: str) -> str:
    """Return the fastest number format for sentence-transformers: float16 on a GPU, bfloat16 where a CPU has it."""
    import torch

    from retrieve.encoders.kernels.precision import has_fast_bfloat16

    if device != "cpu":
        return "float16"
    return "bfloat16" if has_fast_bfloat16(torch.device("cpu")) else "float32"


def smallest_cosine(ours: Any, theirs: Any) -> float:
    """Return the smallest cosine similarity between a row of ours and the same row of theirs."""
    if isinstance(ours, csr_matrix):
        products, lengths = ours.multiply(theirs).sum(axis=1).A1, [_lengths(ours), _lengths(theirs)]
    else:
        products, lengths = (ours * theirs).sum(axis=1), [np.linalg.norm(side, axis=1) for side in (ours, theirs)]
    return float((products / np.maximum(lengths[0] * lengths[1], 1e-12)).min())


def largest_difference(ours: Any, theirs: Any) -> float:
    """Return the largest absolute difference between our scores and theirs."""
    return float(np.abs(ours - theirs).max())


def ours_dense(model: str, texts: list[str], dtype: str, device: str) -> Job:
    """Load and warm up our DenseEncoder."""
    from retrieve.encoders import DenseEncoder

    encoder = DenseEncoder(model, dtype=dtype, device=device)
    encoder.encode(texts[:WARM_UP])
    return lambda: encoder.encode(texts), np.asarray


def theirs_dense(model: str, texts: list[str], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE) -> Job:
    """Load and warm up their SentenceTransformer."""
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
    """Load and warm up our SparseEncoder."""
    from retrieve.encoders import SparseEncoder

    encoder = SparseEncoder(model, dtype=dtype, device=device)
    encoder.encode(texts[:WARM_UP])
    return lambda: encoder.encode(texts), csr_matrix


def theirs_sparse(model: str, texts: list[str], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE) -> Job:
    """Load and warm up their SparseEncoder."""
    from sentence_transformers import SparseEncoder

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder = SparseEncoder(model, device=device, model_kwargs={"dtype": dtype})
    encoder.encode(texts[:WARM_UP])
    return lambda size=batch_size: encoder.encode(texts, batch_size=size, show_progress_bar=False), _csr_of_coo


def ours_pairs(model: str, pairs: list[tuple[str, str]], dtype: str, device: str) -> Job:
    """Load and warm up our CrossEncoder."""
    from retrieve.encoders import CrossEncoder

    encoder = CrossEncoder(model, dtype=dtype, device=device)
    encoder.predict(pairs[:WARM_UP])
    return lambda: encoder.predict(pairs), np.asarray


def theirs_pairs(
    model: str, pairs: list[tuple[str, str]], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE
) -> Job:
    """Load and warm up their CrossEncoder."""
    from sentence_transformers import CrossEncoder

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder = CrossEncoder(model, device=device, model_kwargs={"dtype": dtype})
    encoder.predict(pairs[:WARM_UP])
    return lambda size=batch_size: encoder.predict(pairs, batch_size=size, show_progress_bar=False), np.asarray


DENSE = Comparison("encode", ours_dense, theirs_dense, smallest_cosine, "smallest cosine to theirs in float32")
SPARSE = Comparison(
    "encode-sparse", ours_sparse, theirs_sparse, smallest_cosine, "smallest cosine to theirs in float32"
)
PAIRS = Comparison("rerank", ours_pairs, theirs_pairs, largest_difference, "largest difference to theirs in float32")


def _lengths(rows: csr_matrix) -> Any:
    return np.sqrt(rows.multiply(rows).sum(axis=1)).A1


def _csr_of_coo(weights: Any) -> csr_matrix:
    weights = weights.coalesce().cpu()
    rows, columns = weights.indices().numpy()
    return csr_matrix((weights.values().float().numpy(), (rows, columns)), shape=tuple(weights.shape))
