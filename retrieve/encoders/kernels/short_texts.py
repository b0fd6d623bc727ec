"""Single short texts, such as queries, in float32 on a CPU by ONNX Runtime, which takes 60% to 70% of torch's time.

A short text waits for reading the weights. ONNX Runtime, which pyserini requires, does that faster than the libraries
of torch and has less to do for each operation. The layers of a stack become a graph with its first short text, and
the result is compared with torch's. torch computes longer texts, batches, other layers and where the runtime
fails. The graph has the packed weights; those of torch are dropped when it is made, so that there are not three copies.
"""

import ctypes
import logging
import os
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor, nn

from indexing.locks import CopiedLock
from retrieve.encoders.kernels.families import PostNormLayer, position_bias, post_norm_layers
from retrieve.encoders.kernels.layout import Layout
from retrieve.encoders.kernels.memory import page_out
from retrieve.encoders.kernels.onnx_graph import MICROSOFT, Graph
from retrieve.encoders.kernels.packed_linear import MAX_BYTES, PackedLinear, is_gelu
from retrieve.encoders.kernels.parts import Parts
from retrieve.encoders.kernels.streams import usual_threads

logger = logging.getLogger(__name__)

MAX_TOKENS = 64
"""Longest text; torch computes longer ones as fast."""
MAX_THREADS = 4
"""Unlike torch's, its threads take over each other's work, and take no more processor time on busy cores."""
_TOLERANCE = 1e-4


class ShortTexts:
    """The layers of a stack as a graph for single short texts, made anew when a weight or a module changes.

    A copy has no graph yet.
    """

    def __init__(self) -> None:
        self._lock = CopiedLock()
        self._parts: Parts | None = None
        self._session: tuple[Any, dict[str, Any]] | None = None
        _LIVE.add(self)

    def __reduce__(self) -> "tuple[type[ShortTexts], tuple[()]]":
        return ShortTexts, ()

    def run(self, stack: Any, rows: Tensor, layout: Layout) -> Tensor | None:
        """Return the hidden vectors after the last layer [1, tokens, width]; None where torch must compute them.

        Parameters
        ----------
        stack
            Stack of a known family, at inference.
        rows
            Hidden vectors before the first layer [texts, tokens, width].
        layout
            Layout of the batch.
        """
        if not _is_short(rows, layout):
            return None
        with self._lock:
            if self._parts is None or not self._parts.are_same():
                self._parts = Parts(stack, versions=True)
                self._session = _session(stack, rows[0], layout)
            session = self._session
        return None if session is None else _run(session[0], stack, rows[0])[None]

    def forget(self) -> None:
        """Drop the graph, which does not notice all changes of weights in training."""
        self._parts = self._session = None

    def abandon(self) -> None:
        """Drop the graph in a forked process, where the session would wait for its threads if it were destroyed."""
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session[0]))
        self._lock = CopiedLock()
        self.forget()


_LIVE: "WeakSet[ShortTexts]" = WeakSet()


def _abandon_all() -> None:
    for short in list(_LIVE):
        short.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _is_short(rows: Tensor, layout: Layout) -> bool:
    """Return whether this is a single short text, in float32 on a CPU."""
    return (
        rows.shape[0] == 1
        and rows.shape[1] == layout.tokens <= MAX_TOKENS
        and layout.mask is None
        and rows.dtype == torch.float32
        and rows.device.type == "cpu"
    )


def _session(stack: Any, hidden: Tensor, layout: Layout) -> tuple[Any, dict[str, Any]] | None:
    """Return a session of ONNX Runtime that gives torch's result for these vectors; None if there is none.

    With it come the weights, which it may read where they are.
    """
    layers = list(post_norm_layers(stack))
    if not layers or not all(map(_is_plain, layers)):
        return None
    weights = [linear.weight for layer in layers for linear in _linears(layer)]
    if sum(weight.nbytes for weight in weights) > MAX_BYTES:
        return None
    expected = stack.forward.compute(hidden, layout)[: layout.tokens]
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(MAX_THREADS, usual_threads())
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        model, arrays = _model(layers, hidden.shape[1], position_bias(stack, hidden) is not None)
        given = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        options.add_external_initializers(list(given), list(given.values()))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = _run(session, stack, hidden)
    except Exception as error:  # The runtime raises errors of its own; one that lacks an operation serves nothing.
        logger.debug("single texts stay with torch: %s", error)
        return None
    if not torch.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        return None
    for layer in layers:
        for linear in _linears(layer):
            linear.drop_packed()
            page_out(linear.weight)
    return session, given


def _run(session: Any, stack: Any, hidden: Tensor) -> Tensor:
    arrays = {"hidden": hidden.numpy()}
    bias = position_bias(stack, hidden)
    if bias is not None:
        arrays["bias"] = bias[None].numpy()
    return torch.from_numpy(session.run(None, arrays)[0])


def _linears(layer: PostNormLayer) -> list[Any]:
    return [*layer.inputs, layer.output, layer.inner, layer.outer]


def _is_plain(layer: PostNormLayer) -> bool:
    """Return whether the layer is made of nothing but what the graph has."""
    return (
        all(type(linear) is PackedLinear and linear.weight.dtype == torch.float32 for linear in _linears(layer))
        and all(linear.bias is not None for linear in _linears(layer))
        and all(type(norm) is nn.LayerNorm and norm.elementwise_affine for norm in (layer.attention_norm, layer.norm))
        and is_gelu(layer.activation)
    )


def _model(layers: list[PostNormLayer], width: int, biased: bool) -> tuple[bytes, dict[str, Any]]:
    graph, rows = Graph(), "hidden"
    graph.constant("first", np.array([0], np.int64))
    for at, layer in enumerate(layers):
        rows = _add(graph, layer, rows, f"{at}", biased)
    inputs: dict[str, Any] = {"hidden": (None, width)}
    if biased:
        inputs["bias"] = (1, layers[0].heads, None, None)
    return graph.model(inputs, {rows: (None, width)}), graph.arrays


def _add(graph: Graph, layer: PostNormLayer, rows: str, name: str, biased: bool) -> str:
    """Add a layer to a graph; return the name of its output."""

    def product(kind: str, rows: str, linear: Any) -> str:
        weight = graph.given(f"{name}{kind}.weight", linear.weight.detach().numpy())
        bias = graph.constant(f"{name}{kind}.bias", linear.bias.detach().numpy())
        return graph.add("Gemm", [rows, weight, bias], [f"{name}{kind}"], transB=1)

    def norm(kind: str, rows: str, residual: str, norm: Any) -> str:
        weight = graph.constant(f"{name}{kind}.weight", norm.weight.detach().numpy())
        bias = graph.constant(f"{name}{kind}.bias", norm.bias.detach().numpy())
        inputs, outputs = [rows, residual, weight, bias], [f"{name}{kind}"]
        return graph.add("SkipLayerNormalization", inputs, outputs, MICROSOFT, epsilon=float(norm.eps))

    parts = [product(kind, rows, linear) for kind, linear in zip("qkv", layer.inputs, strict=True)]
    batched = [graph.add("Unsqueeze", [part, "first"], [f"{part}1"]) for part in parts]
    bias = ["", "", "bias"] if biased else []
    mixed = graph.add("MultiHeadAttention", [*batched, *bias], [f"{name}mixed1"], MICROSOFT, num_heads=layer.heads)
    mixed = graph.add("Squeeze", [mixed, "first"], [f"{name}mixed"])
    hidden = norm("attended", product("output", mixed, layer.output), rows, layer.attention_norm)
    inner = graph.add("Gelu", [product("inner", hidden, layer.inner)], [f"{name}gelu"], MICROSOFT)
    return norm("normed", product("outer", inner, layer.outer), hidden, layer.norm)
