"""Forward passes of single short texts as CUDA graphs: a query costs one launch instead of some hundred.

A processor launches the kernels of a short query more slowly than a GPU runs them. A graph records them once and
replays them with other tokens. A text is filled up to one of a few widths, so that few graphs are needed.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from indexing.locks import CopiedLock
from retrieve.encoders.kernels.layout import Layout, concatenated
from retrieve.encoders.kernels.parts import Parts
from retrieve.encoders.kernels.unpadded import is_inference

MAX_WIDTH = 256
"""Longest text in tokens that is replayed; a GPU is busy with longer ones."""
_FINE_WIDTH, _FINE_STEP, _STEP = 64, 8, 32
_PACKAGES = ("torch.nn.", "transformers.", "retrieve.")


def graph_width(length: int) -> int:
    """Return the width to which a single text is filled up on a GPU: a multiple of 8, above 64 of 32."""
    if length > MAX_WIDTH:
        return length
    step = _FINE_STEP if length <= _FINE_WIDTH else _STEP
    return max(step, -(-length // step) * step)


class _Graph(NamedTuple):
    """A captured forward pass: its inputs and its output are overwritten by each replay."""

    graph: torch.cuda.CUDAGraph
    inputs: dict[str, Tensor]
    attended: Tensor
    output: Any

    def replay(self, inputs: dict[str, Tensor], mask: Tensor) -> Any:
        """Run the captured kernels on other inputs of the same shape; return a copy of the output."""
        for name, tensor in self.inputs.items():
            tensor.copy_(inputs[name])
        self.attended.copy_(mask[0])
        self.graph.replay()
        return type(self.output)(**{name: value.clone() for name, value in self.output.items()})


class Graphs:
    """Graphs of a model, captured when a width occurs for the second time and dropped when a module is replaced.

    Weights that are changed in place, as in training, need no new graph. A model with modules of other packages, such
    as adapters, is never captured. A copy has no graphs yet.
    """

    def __init__(self) -> None:
        self._lock = CopiedLock()
        self._captured: dict[tuple[int, tuple[str, ...]], _Graph | None] = {}
        self._parts: Parts | None = None
        self._suitable = False

    def __reduce__(self) -> "tuple[type[Graphs], tuple[()]]":
        return Graphs, ()

    def run(self, model: nn.Module, inputs: dict[str, Tensor], mask: Tensor) -> Any:
        """Return the model's output for one row of tokens [1, width]; None where it must run as usual.

        Parameters
        ----------
        model
            A model that `unpad` changed, on a CUDA GPU.
        inputs
            Arguments of the model; a mask only if the model reads it beside a layout.
        mask
            int64 [1, width], the attended tokens.
        """
        ids = inputs["input_ids"]
        if ids.device.type != "cuda" or len(ids) != 1 or ids.shape[1] > MAX_WIDTH or not is_inference(ids):
            return None
        with self._lock:
            if self._parts is None or not self._parts.are_same():
                self._captured.clear()
                self._parts = Parts(model)
                self._suitable = all(type(module).__module__.startswith(_PACKAGES) for module in model.modules())
            if not self._suitable or model.training:
                return None
            key = (ids.shape[1], tuple(inputs))
            if key not in self._captured:
                self._captured[key] = None
                return None
            graph = self._captured[key]
            if graph is None:
                try:
                    graph = self._captured[key] = _capture(model, inputs, mask)
                except RuntimeError:  # An operation of this model waits for the GPU: it runs as usual.
                    self._suitable = False
                    return None
            return graph.replay(inputs, mask)


def _capture(model: nn.Module, inputs: dict[str, Tensor], mask: Tensor) -> _Graph:
    device = mask.device
    held = {name: tensor.clone() for name, tensor in inputs.items()}
    attended = mask[0].bool()
    current, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(current)
    try:
        with concatenated(Layout.of_row(attended)):
            with torch.cuda.stream(stream):
                for _ in range(2):  # Libraries allocate their working memory at the first calls.
                    model(**held, return_dict=True)
            current.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                output = model(**held, return_dict=True)
    finally:
        torch.cuda.set_stream(current)  # A capture that fails leaves its own stream as the current one.
    return _Graph(graph, held, attended, output)
