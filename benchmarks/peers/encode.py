"""Encode with sentence-transformers on one of its backends: a process that `run_speed.py` starts and asks for runs.

This runs in the environment that `make_environment.py` makes, and imports nothing of the project. Standard input has
JSON lines, each answered by one on standard output. The first is the job:

- ``kind``, ``method``: class of sentence-transformers and the method that encodes
- ``model``, ``backend``: a checkpoint, and a key of `GRAPHS`
- ``inputs``: file with a JSON list of texts, or of pairs of texts
- ``exports``: folder for exported graphs; one that is there is used again
- ``threads``: number of threads, or null for the backend's choice

A run is ``{"batch_size": 32, "step": 1}``, over every `step`-th input, or ``{"each": true}``, one input a call. The
last line is ``{"vectors": "FILE.npy"}``: the results of the last run are written to the file.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WARM_UP = 64
"""Number of inputs encoded before timing starts."""


class Graph(NamedTuple):
    """A backend: its name in sentence-transformers, the file of its graph, and the function that makes the graph."""

    backend: str
    file: str | None = None
    export: Callable[[Any, str, list[str]], None] | None = None


def optimized(model: Any, folder: str, texts: list[str]) -> None:
    """Write the ONNX graph with all optimisations for a CPU (O3)."""
    from sentence_transformers import export_optimized_onnx_model

    export_optimized_onnx_model(model, "O3", folder)


def quantized_dynamically(model: Any, folder: str, texts: list[str]) -> None:
    """Write the ONNX graph with int8 weights; activations are quantized as they are computed."""
    from sentence_transformers import export_dynamic_quantized_onnx_model

    export_dynamic_quantized_onnx_model(model, instructions(), folder, file_suffix="int8")


def quantized_statically(model: Any, folder: str, texts: list[str]) -> None:
    """Write the OpenVINO graph with int8 weights and activations, whose ranges are measured on the texts."""
    from sentence_transformers import export_static_quantized_openvino_model

    calibration = Path(folder) / "calibration"
    calibration.mkdir()
    (calibration / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    export_static_quantized_openvino_model(
        model, None, folder, str(calibration), "default", "train", "text", file_suffix="int8"
    )


GRAPHS = {
    "torch": Graph("torch"),
    "onnx": Graph("onnx", "onnx/model_O3.onnx", optimized),
    "onnx-int8": Graph("onnx", "onnx/model_int8.onnx", quantized_dynamically),
    "openvino": Graph("openvino", "openvino/openvino_model.xml"),
    "openvino-int8": Graph("openvino", "openvino/openvino_model_int8.xml", quantized_statically),
}


def instructions() -> str:
    """Return the name of this processor's best configuration of ONNX quantization."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().split()
        return next(name for name in ("avx512_vnni", "avx512f", "avx2") if name in flags).replace("512f", "512")
    return "arm64" if os.uname().machine in ("arm64", "aarch64") else "avx2"


def load(job: dict[str, Any]) -> Any:
    """Load the model on its backend; export its graph first, unless an earlier process did."""
    import sentence_transformers

    kind, graph = getattr(sentence_transformers, job["kind"]), GRAPHS[job["backend"]]
    if job["threads"] is not None:
        import torch

        torch.set_num_threads(job["threads"])
    if graph.file is None:
        return kind(job["model"], device="cpu", model_kwargs={"dtype": "float32"})
    folder = Path(job["exports"]) / job["backend"]
    if not (folder / graph.file).is_file():
        model = kind(job["model"], device="cpu", backend=graph.backend)
        model.save_pretrained(str(folder))
        if graph.export is not None:
            texts = [text if isinstance(text, str) else " ".join(text) for text in inputs_of(job)]
            graph.export(model, str(folder), texts)
    options = {"file_name": graph.file} | thread_options(graph.backend, job["threads"])
    return kind(str(folder), device="cpu", backend=graph.backend, model_kwargs=options)


def thread_options(backend: str, threads: int | None) -> dict[str, Any]:
    """Return the arguments that limit a backend to so many threads."""
    if threads is None:
        return {}
    if backend == "openvino":
        return {"ov_config": {"INFERENCE_NUM_THREADS": threads}}
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return {"session_options": options}


def inputs_of(job: dict[str, Any]) -> list[Any]:
    """Read the texts or pairs of a job."""
    found: list[Any] = json.loads(Path(job["inputs"]).read_text(encoding="utf-8"))
    return found


def run(encode: Callable[..., Any], inputs: list[Any], order: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Encode once; return the results, and the seconds of the whole, of the processor and of each call."""
    each: list[float] = []
    start, processor = time.perf_counter(), time.process_time()
    if order.get("each"):
        rows = []
        for item in inputs:
            before = time.perf_counter()
            rows.append(encode(item, show_progress_bar=False))
            each.append(time.perf_counter() - before)
        result: Any = np.stack(rows)
    else:
        chosen = inputs[:: order["step"]]
        result = encode(chosen, batch_size=order["batch_size"], show_progress_bar=False)
    return result, {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - processor,
        "each": each,
    }


def peak_mb() -> float:
    """Return the peak resident memory of this process, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Answer the lines of standard input."""
    answers, sys.stdout = sys.stdout, sys.stderr  # the exporters print
    job = json.loads(sys.stdin.readline())
    inputs, encode = inputs_of(job), getattr(load(job), job["method"])
    encode(inputs[:WARM_UP], show_progress_bar=False)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    result: Any = None
    for line in sys.stdin:
        order = json.loads(line)
        if "vectors" not in order:
            result, answer = run(encode, inputs, order)
        else:
            answer = {"peak_mb": peak_mb()}
            np.save(order["vectors"], result.to_dense().numpy() if hasattr(result, "to_dense") else result)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
