"""Time encoders beside sentence-transformers: vectors, term weights and scores of pairs.

Four sides run in alternation, each loaded in its own process: ours with its defaults, ours in float32, theirs with its
defaults (float32, batches of 32), and theirs at its best (the fastest number format of the device and the best of four
batch sizes, which a run beforehand determines).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Job, Row, Side, measure, measured_row
from retrieve.encoders.modules.transformer import quiet

BATCH_SIZES = (16, 32, 64, 128)
GPU_BATCH_SIZES = (32, 128, 512, 2048)
DEFAULT_BATCH_SIZE = 32
WARM_UP = 64
"""Number of texts encoded before timing starts."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An encoding task: the classes and the method of both sides, and the measure of their agreement.

    `compared` returns a number for each result, of which `worst` is the agreement.
    """

    task: str
    ours: str
    theirs: str
    method: str
    as_arrays: Callable[[Any], Any]
    compared: Callable[[Any, Any], NDArray[np.floating]]
    worst: Callable[[NDArray[np.floating]], np.floating]
    compared_name: str

    def agreement(self, ours: Any, theirs: Any) -> float:
        """Return the worst agreement of a result of ours with theirs."""
        return float(self.worst(self.compared(ours, theirs)))

    @property
    def agreement_name(self) -> str:
        """Description of the number that `agreement` returns."""
        return f"{'smallest' if self.worst is np.min else 'largest'} {self.compared_name} theirs in float32"


def compare(
    comparison: Comparison, model: str, inputs: Sequence[Any], *, device: str, repeats: int, threads: int | None = None
) -> list[Row]:
    """Time both on `inputs`: ours beside their defaults, ours beside their best, and both in float32."""
    fast = best_dtype(device)
    with Side(theirs, comparison, model, inputs, fast, device, threads=threads) as sweep:
        taken = {size: sweep.run(size) for size in (BATCH_SIZES if device == "cpu" else GPU_BATCH_SIZES)}
        sweep.finish()
    batch_size = min(taken, key=lambda size: taken[size])
    # Ours, ours in float32, theirs with its defaults, theirs at its best.
    jobs = (
        (ours, comparison, model, inputs, "auto", device),
        (ours, comparison, model, inputs, "float32", device),
        (theirs, comparison, model, inputs, "float32", device),
        (theirs, comparison, model, inputs, fast, device, batch_size),
    )
    sides = measure(jobs, repeats, threads)
    rows: list[Row] = []
    for setting, (mine, peer), detail in (
        ("default", (0, 2), f"float32, batches of {DEFAULT_BATCH_SIZE}"),
        ("best", (0, 3), f"{fast}, batches of {batch_size}"),
        ("float32", (1, 2), f"float32 on both sides, batches of {DEFAULT_BATCH_SIZE}"),
    ):
        agreement = comparison.agreement(sides[mine].result, sides[2].result)
        detail = f"{len(inputs)} inputs; theirs: {detail}; agreement: {comparison.agreement_name}"
        rows.append(measured_row(comparison.task, setting, sides[mine], sides[peer], agreement, detail))
    return rows


def best_dtype(device: str) -> str:
    """Return the fastest number format for sentence-transformers: float16 on a GPU, bfloat16 where a CPU has it."""
    import torch

    from retrieve.encoders.kernels.precision import has_fast_bfloat16

    if device != "cpu":
        return "float16"
    return "bfloat16" if has_fast_bfloat16(torch.device("cpu")) else "float32"


def cosines(ours: Any, theirs: Any) -> NDArray[np.floating]:
    """Return the cosine similarity of each row of ours with the same row of theirs."""
    if isinstance(ours, csr_matrix):
        products, lengths = ours.multiply(theirs).sum(axis=1).A1, [_lengths(ours), _lengths(theirs)]
    else:
        products, lengths = (ours * theirs).sum(axis=1), [np.linalg.norm(side, axis=1) for side in (ours, theirs)]
    similarities: NDArray[np.floating] = products / np.maximum(lengths[0] * lengths[1], 1e-12)
    return similarities


def differences(ours: Any, theirs: Any) -> NDArray[np.floating]:
    """Return the absolute differences between our scores and theirs."""
    return np.abs(np.subtract(ours, theirs))


def ours(comparison: Comparison, model: str, inputs: list[Any], dtype: str, device: str) -> Job:
    """Load and warm up our encoder."""
    import retrieve.encoders

    encoder = getattr(retrieve.encoders, comparison.ours)(model, dtype=dtype, device=device)
    encode = getattr(encoder, comparison.method)
    encode(inputs[:WARM_UP])
    return lambda: encode(inputs), comparison.as_arrays


def theirs(
    comparison: Comparison, model: str, inputs: list[Any], dtype: str, device: str, batch_size: int = DEFAULT_BATCH_SIZE
) -> Job:
    """Load and warm up their encoder."""
    import sentence_transformers

    with quiet():
        encoder = getattr(sentence_transformers, comparison.theirs)(model, device=device, model_kwargs={"dtype": dtype})
    encode = getattr(encoder, comparison.method)
    encode(inputs[:WARM_UP])
    return lambda size=batch_size: encode(inputs, batch_size=size, show_progress_bar=False), comparison.as_arrays


def _lengths(rows: csr_matrix) -> Any:
    return np.sqrt(rows.multiply(rows).sum(axis=1)).A1


def float32(vectors: Any) -> NDArray[np.float32]:
    """Return vectors or scores as a float32 array."""
    return np.asarray(vectors, np.float32)


def csr_matrix_of(weights: Any) -> csr_matrix:
    """Return term weights, CSR, a matrix with all zeros, or a sparse tensor of torch, as CSR."""
    if isinstance(weights, csr_matrix | np.ndarray):
        return csr_matrix(weights)
    weights = weights.coalesce().cpu()
    rows, columns = weights.indices().numpy()
    return csr_matrix((weights.values().float().numpy(), (rows, columns)), shape=tuple(weights.shape))


DENSE = Comparison("encode", "DenseEncoder", "SentenceTransformer", "encode", float32, cosines, np.min, "cosine with")
SPARSE = Comparison(
    "encode-sparse", "SparseEncoder", "SparseEncoder", "encode", csr_matrix_of, cosines, np.min, "cosine with"
)
PAIRS = Comparison("rerank", "CrossEncoder", "CrossEncoder", "predict", float32, differences, np.max, "difference from")
