"""Time encoders beside sentence-transformers on PyTorch, ONNX Runtime and OpenVINO, in float32 and in int8.

The peers run in an environment of their own (`benchmarks/peers/make_environment.py`), each in its own process and at
its best batch size, which a run over part of the inputs determines beforehand. Rows of one precision compare equals;
"best at any precision" compares the fastest of each side. Agreement is with the peer's float32 results on PyTorch.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.speed.encoding import BATCH_SIZES, Comparison, cosines, ours
from benchmarks.speed.measure import Job, Measured, Row, Side, alternate, measured_row, timed_row
from indexing.errors import InputError
from retrieve.encoders.kernels.int8_linear import has_fast_int8

HERE = Path(__file__).resolve().parents[1] / "peers"
FLOAT32, INT8 = ("torch", "onnx", "openvino"), ("onnx-int8", "openvino-int8")
"""Backends of `peers/encode.py` by their precision."""
SWEEP_STEP = 4
"""Batch sizes are compared on every fourth input."""
ROUNDS = 2
"""Noisy runs are repeated once."""
EXPORTED = "exported"
"""Our encoder in float32 with its graph exported to ONNX, among the number formats of single queries."""
THREADS = (1, 2)
"""Numbers of threads that single queries are encoded with."""


DEFAULT_ENVIRONMENT = HERE / ".venv"


def peers_python(folder: str | Path) -> Path:
    """Return the interpreter of the peers' environment.

    Raises
    ------
    InputError
        If `folder` is not an environment.
    """
    python = Path(folder) / "bin" / "python"
    if not python.is_file():
        raise InputError(f"{folder} has no bin/python: make it with benchmarks/peers/make_environment.py (--peers)")
    return python


class PeerSide:
    """A backend of sentence-transformers in a process of the peers' environment; it is used like a `Side`.

    Parameters
    ----------
    python
        The environment's interpreter.
    job
        See `peers/encode.py`.
    order
        What `run` asks for, unless it is given another.
    """

    def __init__(self, python: Path, job: dict[str, Any], order: dict[str, Any]) -> None:
        self._backend, self._order, self._folder = job["backend"], order, Path(job["exports"])
        self._log = self._folder / f"{self._backend}.log"
        command, pipe = [str(python), str(HERE / "encode.py")], subprocess.PIPE
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []
        self.each: list[float] = []
        self._ask(job)

    def run(self, order: dict[str, Any] | None = None) -> float:
        """Run once; record its seconds and those of the processor, and return its seconds."""
        answer = self._ask(order or self._order)
        self.seconds.append(answer["seconds"])
        self.processor_seconds.append(answer["processor_seconds"])
        self.each += answer["each"]
        return self.seconds[-1]

    def finish(self) -> tuple[Any, float]:
        """End the process; return the results of its last run (with seconds of all calls, if any) and its peak MB."""
        path = self._folder / f"{self._backend}.npy"
        peak: float = self._ask({"vectors": str(path)})["peak_mb"]
        rows = np.load(path)
        return (np.array(self.each), rows) if self.each else rows, peak

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._process.wait()
            raise RuntimeError(f"{self._backend} failed in the peers' environment:\n{self._log.read_text()}") from None
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def compare_with_peers(
    comparison: Comparison, model: str, inputs: Sequence[Any], python: Path, *, repeats: int, threads: int | None = None
) -> list[Row]:
    """Time our encoder in each precision, and every backend at its best batch size."""
    with tempfile.TemporaryDirectory() as folder:
        job = _job(comparison, model, inputs, folder, threads)
        sizes = {backend: _best_batch_size(python, job | {"backend": backend}) for backend in (*FLOAT32, *INT8)}
        with ExitStack() as stack:
            sides: dict[str, Any] = {}
            for dtype in _our_types():
                side = Side(ours, comparison, model, list(inputs), dtype, "cpu", threads=threads)
                sides[dtype] = stack.enter_context(side)
            for backend, size in sizes.items():
                order = {"batch_size": size, "step": 1}
                sides[backend] = stack.enter_context(PeerSide(python, job | {"backend": backend}, order))
            found = dict(zip(sides, alternate(list(sides.values()), repeats, ROUNDS), strict=True))
    details = {backend: f"{backend}, batches of {size}" for backend, size in sizes.items()}
    return peer_rows(comparison, found, details, len(inputs))


def single_queries(
    comparison: Comparison, model: str, queries: Sequence[str], python: Path, *, repeats: int
) -> list[Row]:
    """Time queries one by one, on one thread and two: a row's seconds are the median of a query."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for threads in THREADS:
            job = _job(comparison, model, queries, folder, threads)
            with ExitStack() as stack:
                sides: dict[str, Any] = {}
                for kind in (*_our_types(), EXPORTED):
                    side = Side(one_by_one, comparison, model, list(queries), kind, threads=threads)
                    sides[kind] = stack.enter_context(side)
                for backend in (*FLOAT32, *INT8):
                    sides[backend] = stack.enter_context(PeerSide(python, job | {"backend": backend}, {"each": True}))
                found = dict(zip(sides, alternate(list(sides.values()), repeats), strict=True))
            rows += _latency_rows(found, f"{len(queries)} queries, one a call", threads)
    return rows


def one_by_one(comparison: Comparison, model: str, queries: list[str], kind: str) -> Job:
    """Load and warm up our encoder in a number format, or `EXPORTED`; its job encodes the queries one by one."""
    import retrieve.encoders

    ours, dtype = getattr(retrieve.encoders, comparison.ours), "float32" if kind == EXPORTED else kind
    encoder = ours(model, dtype=dtype, device="cpu")
    if kind == EXPORTED:
        with tempfile.TemporaryDirectory() as folder:
            encoder.export("onnx", Path(folder) / "graph")
            encoder = ours(Path(folder) / "graph", dtype=dtype, device="cpu")
    encode = getattr(encoder, comparison.method)
    each: list[float] = []

    def run() -> list[Any]:
        rows = []
        for query in queries:
            start = time.perf_counter()
            rows.append(encode(query))
            each.append(time.perf_counter() - start)
        return rows

    run()
    each.clear()
    return run, lambda rows: (np.array(each), np.stack(rows))


def _job(comparison: Comparison, model: str, inputs: Sequence[Any], folder: str, threads: int | None) -> dict[str, Any]:
    path = Path(folder) / "inputs.json"
    path.write_text(json.dumps(list(inputs)), encoding="utf-8")
    return {
        "kind": comparison.theirs,
        "method": comparison.method,
        "model": str(model),
        "inputs": str(path),
        "exports": folder,
        "threads": threads,
    }


def _best_batch_size(python: Path, job: dict[str, Any]) -> int:
    with PeerSide(python, job, {}) as side:
        taken = {size: side.run({"batch_size": size, "step": SWEEP_STEP}) for size in BATCH_SIZES}
    return min(taken, key=lambda size: taken[size])


def _our_types() -> tuple[str, ...]:
    return ("float32", "int8") if has_fast_int8() else ("float32",)


def peer_rows(comparison: Comparison, found: dict[str, Measured], details: dict[str, str], count: int) -> list[Row]:
    """Return the rows of all sides, measured by their names: backends of the peers, and our number formats."""
    reference = comparison.as_arrays(found["torch"].result)
    ours_int8 = "int8" if "int8" in found else "float32"

    def fastest(names: Sequence[str]) -> str:
        return min(names, key=lambda name: median(found[name].seconds))

    def row(setting: str, mine: str, peer: str) -> Row:
        worst, mean = _agreement(comparison, found[mine].result, reference)
        their_worst, their_mean = _agreement(comparison, found[peer].result, reference)
        processor = [median(found[name].processor_seconds) for name in (mine, peer)]
        detail = (
            f"{count} inputs; ours {mine}, theirs {details[peer]}; processor seconds {processor[0]:.2f} and "
            f"{processor[1]:.2f} ({processor[1] / processor[0]:.2f}); agreement: {comparison.agreement_name} on "
            f"PyTorch, theirs {their_worst:.5f}; mean: ours {mean:.6f}, theirs {their_mean:.6f}"
        )
        sides = found[mine], found[peer]
        return measured_row(comparison.task, setting, *sides, worst, detail, f"sentence-transformers {peer}")

    equals = [("float32", "float32", peer) for peer in FLOAT32] + [("int8", ours_int8, peer) for peer in INT8]
    best = [
        ("best at equal precision", "float32", fastest(FLOAT32)),
        ("best at any precision", fastest(["float32", ours_int8]), fastest((*FLOAT32, *INT8))),
    ]
    return [row(*compared) for compared in (*equals, *best)]


def _agreement(comparison: Comparison, result: Any, reference: Any) -> tuple[float, float]:
    compared = comparison.compared(comparison.as_arrays(result), reference)
    return float(comparison.worst(compared)), float(compared.mean())


def _latency_rows(found: dict[str, Measured], shape: str, threads: int) -> list[Row]:
    setting = "1 thread" if threads == 1 else f"{threads} threads"
    rows = []
    int8 = "int8" if "int8" in found else "float32"
    pairs = [(mine, peer) for mine in ("float32", EXPORTED) for peer in FLOAT32] + [(int8, peer) for peer in INT8]
    for mine, peer in pairs:
        (each, vectors), (their_each, theirs) = found[mine].result, found[peer].result
        middle, late = ([float(np.quantile(side, share)) for side in (each, their_each)] for share in (0.5, 0.95))
        detail = (
            f"{shape}, ours {mine}; p50 {1000 * middle[0]:.2f} and {1000 * middle[1]:.2f} ms, p95 "
            f"{1000 * late[0]:.2f} and {1000 * late[1]:.2f} ms; agreement: smallest cosine with this peer"
        )
        agreement = float(cosines(np.asarray(vectors), np.asarray(theirs)).min())
        peaks = found[mine].peak_mb, found[peer].peak_mb
        rows.append(
            timed_row(
                "latency", f"sentence-transformers {peer}", f"{mine}, {setting}", *middle, agreement, detail, peaks
            )
        )
    return rows
