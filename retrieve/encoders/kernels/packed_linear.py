"""Linear layers that pack their weights for the CPU once instead of at every call, and fuse a following GELU.

oneDNN multiplies by weights in its own blocked layout. It packs a plain matrix at each call, which takes a tenth of the
time of a large batch and a third of that of a short query. Only inference changes: a layer that is trained, compiled or
on another device computes as before.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from retrieve.encoders.kernels.memory import page_out

MAX_BYTES = 1 << 30
"""Limit of a model's linear weights, above which a packed copy is not worth the memory."""
ROWS = 1024
"""Number of rows that the layout is chosen for; it works for any number."""


def pack(model: nn.Module) -> None:
    """Make a model's linear layers compute with packed weights if the CPU can.

    The packed weights are a second copy of those of all linear layers: 21 MB for all-MiniLM-L6-v2 in bfloat16. Changed
    weights are packed again on their next use.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    size = sum(layer.weight.nbytes for layer in layers)
    if size > MAX_BYTES:
        return
    for layer in layers:
        layer.__class__ = PackedLinear
    for module in model.modules():
        if _is_linear_gelu(module):
            module.forward = _FusedGelu(module)


class PackedLinear(nn.Linear):
    """`torch.nn.Linear` that packs its weights on its first inference on a CPU."""

    _packed: tuple[Any, Tensor] | None = None
    _joined: tuple[Any, Tensor, Tensor | None] | None = None

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``rows @ weight.T + bias``, [..., out_features]."""
        if self.can_pack(rows):
            return self.packed_product(rows)
        self.drop_packed()  # In training, fused optimizers change weights, not their version.
        return super().forward(rows)

    def can_pack(self, rows: Tensor) -> bool:
        """Return whether packed weights can be used: for inference on a CPU, in the type of the weights."""
        weight = self._parameters["weight"]
        return (
            weight is not None
            and is_cpu_inference(rows)
            and weight.device.type == "cpu"
            and rows.dtype == weight.dtype
            and rows.dtype in _supported_types()
            and rows.numel() > 0
        )

    def packed_product(self, rows: Tensor, activation: str = "none") -> Tensor:
        """Return the activated product; `activation` is oneDNN's "none" or "gelu", the exact one."""
        return _product(rows, self._packed_weight(), self._parameters["bias"], activation)

    def packed_sum(self, rows: Tensor, residual: Tensor) -> Tensor:
        """Return the product plus `residual`, which has its shape, in one operation."""
        weight, bias = self._packed_weight(), self._parameters["bias"]
        product: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, residual, weight, bias, "add")
        return product

    def joined_products(self, rows: Tensor, others: "Sequence[PackedLinear]") -> Sequence[Tensor]:
        """Return the products of the same rows with this layer and others, in one operation."""
        layers = (self, *others)
        key = state_of(layers)
        joined = self._joined
        if joined is None or joined[0] != key:
            weight, bias = concatenated(layers)
            self._joined = joined = key, torch.ops.mkldnn._reorder_linear_weight(weight, ROWS), bias
        product = _product(rows, *joined[1:])
        return product.split([layer.out_features for layer in layers], dim=-1)

    def _packed_weight(self) -> Tensor:
        weight = self._parameters["weight"]
        assert weight is not None
        key, packed = _state(weight), self._packed
        if packed is None or packed[0] != key:
            self._packed = packed = key, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
            page_out(weight)
        return packed[1]

    def drop_packed(self) -> None:
        """Free the packed weights; they are packed again on their next use."""
        self._packed = self._joined = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the packed weights: they cannot be copied, and copies pack their own."""
        return {name: value for name, value in vars(self).items() if name not in ("_packed", "_joined")}


def forget_packed(model: nn.Module) -> None:
    """Drop the packed weights of a model's layers and graphs, which do not notice a change through ``data``."""
    for module in model.modules():
        for name in ("_packed", "_joined"):
            vars(module).pop(name, None)
        forget = getattr(vars(module).get("forward"), "forget", None)
        if forget is not None:
            forget()


def norm_of_sum(dense: nn.Module, norm: nn.Module, rows: Tensor, residual: Tensor) -> Tensor:
    """Return ``norm(dense(rows) + residual)``, which ends the halves of a layer, with the sum in the product."""
    if isinstance(dense, PackedLinear) and dense.can_pack(rows) and residual.dtype == rows.dtype:
        total = dense.packed_sum(rows, residual)
    else:
        total = dense(rows) + residual
    if type(norm) is not nn.LayerNorm:
        output: Tensor = norm(total)
        return output
    weight, bias = norm._parameters.values()
    return torch.layer_norm(total, norm.normalized_shape, weight, bias, norm.eps, False)


def packed_products(rows: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor] | None:
    """Return the products of the same rows with several layers if they can be packed together, else None."""
    packed = [layer for layer in layers if isinstance(layer, PackedLinear)]
    if not packed or len(packed) < len(layers) or not packed[0].can_pack(rows):
        return None
    first, *others = packed
    return first.joined_products(rows, others) if all(alike(first, other) for other in others) else None


def alike(layer: nn.Linear, other: nn.Linear) -> bool:
    """Return whether two layers have parameters of the same types and devices: both with a bias or both without."""
    return all(
        (a is None) == (b is None) and (a is None or b is None or (a.dtype, a.device) == (b.dtype, b.device))
        for a, b in zip(layer._parameters.values(), other._parameters.values(), strict=True)
    )


def state_of(layers: Sequence[nn.Linear]) -> Sequence[tuple[int, int] | None]:
    """Return what changes when a parameter of the layers is replaced or changed in place."""
    return [_state(tensor) for layer in layers for tensor in layer._parameters.values()]


def concatenated(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Return the weights and the biases of layers as those of one, and page out their own."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
    for layer in layers:
        page_out(layer.weight)
    return weight, bias


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, activation, [], "none")
    return product


def _state(tensor: Tensor | None) -> tuple[int, int] | None:
    """Return what changes when a tensor is replaced or changed in place."""
    if tensor is None:
        return None
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


class _FusedGelu:
    """Forward pass of a module made of a linear layer and GELU, such as BERT's ``intermediate``, in one operation."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, hidden_states: Tensor) -> Tensor:
        layer: Any = self._module.dense
        if isinstance(layer, PackedLinear) and layer.can_pack(hidden_states):
            return layer.packed_product(hidden_states, "gelu")
        output: Tensor = type(self._module).forward(self._module, hidden_states)
        return output


def activated(layer: nn.Module, activation: Any, rows: Tensor) -> Tensor:
    """Return ``activation(layer(rows))``, in one operation where the layer is packed and the activation is GELU."""
    if isinstance(layer, PackedLinear) and is_gelu(activation) and layer.can_pack(rows):
        return layer.packed_product(rows, "gelu")
    output: Tensor = activation(layer(rows))
    return output


def is_gelu(activation: Any) -> bool:
    """Return whether an activation of transformers is the exact GELU."""
    return getattr(activation, "act", None) is nn.functional.gelu


def _is_linear_gelu(module: nn.Module) -> bool:
    children = dict(module.named_children())
    if set(children) != {"dense", "intermediate_act_fn"} or type(children["dense"]) is not PackedLinear:
        return False
    activation = children["intermediate_act_fn"]
    return type(module).__name__.endswith("Intermediate") and is_gelu(activation)


def is_cpu_inference(rows: Tensor) -> bool:
    """Return whether this is inference on a CPU, neither compiled nor with autocast."""
    return (
        torch.is_inference_mode_enabled()
        and rows.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _supported_types() -> tuple[torch.dtype, ...]:
    """Return the types in which this torch and CPU have the packed operations, which are internals of torch."""
    supported = []
    for dtype in (torch.float32, torch.bfloat16):
        try:
            with torch.inference_mode():
                weight = torch.ops.mkldnn._reorder_linear_weight(torch.eye(16, dtype=dtype), ROWS)
                rows = torch.ones(2, 16, dtype=dtype)
                torch.ops.mkldnn._linear_pointwise.default(rows, weight, None, "gelu", [], "none")
                torch.ops.mkldnn._linear_pointwise.binary(rows, rows, weight, None, "add")
        except (AttributeError, RuntimeError):
            continue  # This torch has no such operations, or not for this type on this CPU: the usual ones serve.
        supported.append(dtype)
    return tuple(supported)
