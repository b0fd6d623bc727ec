"""Linear layers that multiply bytes instead of float32: three to four times as fast on a processor with VNNI.

Each output channel of the weights has a scale, and so has each row of the input, found as it is computed. So a text's
result does not depend on the texts beside it. oneDNN multiplies unsigned rows by signed weights; sums are exact, in 32
bits. Layers outside the stack of layers (embeddings, heads) stay in float32, as do attention, normalisation and GELU.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from indexing.errors import InputError
from retrieve.encoders.kernels.memory import page_out
from retrieve.encoders.kernels.packed_linear import is_cpu_inference

LEVELS = 127
"""Rows and weights are rounded to whole numbers from -127 to 127."""
ZERO = 128
"""Zero of the unsigned rows, which oneDNN multiplies fast; signed rows have a slow path only."""
ROWS_AT_ONCE = 256
"""Rows of a feed-forward block that are computed at once: their inner vectors stay in the cache."""
_SMALLEST = 1e-30


class QuantizedRows(NamedTuple):
    """Rows as bytes, uint8 [rows, width], with float32 scales [rows, 1]: row ``i`` is ``(bytes - ZERO) * scale``."""

    values: Tensor
    scales: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "QuantizedRows":
        """Quantize float32 rows [rows, width]."""
        largest = torch.maximum(rows.amax(-1, keepdim=True), rows.amin(-1, keepdim=True).neg_())
        scales = largest.clamp_(min=_SMALLEST).div_(LEVELS)
        # The conversion cuts off the fraction.
        shifted = torch.addcmul(rows.new_full((), ZERO + 0.5), rows, scales.reciprocal())
        return cls(shifted.to(torch.uint8), scales)


class Int8Linear(nn.Linear):
    """`torch.nn.Linear` that multiplies in 8 bits at inference on a CPU; it keeps its float32 weights."""

    _packed: tuple[tuple[int, int], Tensor, Tensor] | None = None

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``rows @ weight.T + bias``, [..., out_features]."""
        if not self.can_quantize(rows):
            self._packed = None  # In training, fused optimizers change weights without increasing their version.
            return super().forward(rows)
        return self.product(QuantizedRows.of(rows.flatten(0, -2))).unflatten(0, rows.shape[:-1])

    def can_quantize(self, rows: Tensor) -> bool:
        """Return whether bytes can be multiplied: for inference on a CPU, in float32."""
        return (
            is_cpu_inference(rows)
            and rows.dtype == self.weight.dtype == torch.float32
            and self.weight.device.type == "cpu"
            and rows.numel() > 0
        )

    def product(self, rows: QuantizedRows) -> Tensor:
        """Return the product of quantized rows, float32 [rows, out_features]."""
        weight, scales = self._packed_weight()
        product = _product(rows.values, weight, scales)
        if self.bias is None:
            return product.mul_(rows.scales)
        return torch.addcmul(self.bias, product, rows.scales, out=product)

    def _packed_weight(self) -> tuple[Tensor, Tensor]:
        key = (self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version)
        if self._packed is None or self._packed[0] != key:
            weight = self.weight.detach()
            scales = weight.abs().amax(1).clamp_(min=_SMALLEST).div_(LEVELS)
            rounded = weight.div(scales[:, None]).round_().to(torch.int8)
            self._packed = key, torch.ops.onednn.qlinear_prepack(rounded, None), scales
            page_out(self.weight)
        return self._packed[1:]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the packed weights: they cannot be copied, and copies pack their own."""
        return {name: value for name, value in vars(self).items() if name != "_packed"}


def quantize_layers(model: nn.Module) -> int:
    """Make the linear layers of a model's stack of layers compute in 8 bits; return their number.

    Raises
    ------
    InputError
        For a model without such layers.
    """
    stacked = (
        module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and any(part.isdigit() for part in name.split("."))
    )
    layers = list(stacked)
    if not layers:
        raise InputError(f"{type(model).__name__} has no layers that dtype 'int8' is for: use 'auto'")
    for layer in layers:
        layer.__class__ = Int8Linear
    return len(layers)


def products(rows: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
    """Return the output of several layers for the same rows [rows, width], which are quantized once."""
    if all(isinstance(layer, Int8Linear) and layer.can_quantize(rows) for layer in layers):
        quantized = QuantizedRows.of(rows)
        return [layer.product(quantized) for layer in layers]  # type: ignore[operator]
    return [layer(rows) for layer in layers]


def check_int8(device: torch.device) -> None:
    """Raise an `InputError` where 8 bits are no gain: on a GPU, and on a processor without VNNI."""
    if device.type != "cpu":
        raise InputError(f"dtype 'int8' is for a CPU, not for {device}: use 'auto'")
    if not has_fast_int8():
        raise InputError(
            "dtype 'int8' needs a CPU with VNNI (AVX-512 VNNI, AVX-VNNI or AMX): on this one it is no faster; use "
            "'auto'"
        )


@cache
def has_fast_int8() -> bool:
    """Return whether this CPU multiplies bytes in hardware, and this torch has the operations, which are internals."""
    try:
        found = torch.cpu.get_capabilities()
        if not any(found.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")):
            return False
        with torch.inference_mode():
            rows = torch.arange(1, 129, dtype=torch.uint8).view(2, 64)
            weight = torch.arange(-63, 65, dtype=torch.int8).view(2, 64)
            found_product = _product(rows, torch.ops.onednn.qlinear_prepack(weight, None), torch.ones(2))
        return torch.equal(found_product, (rows.float() - ZERO) @ weight.float().T)
    except (AttributeError, RuntimeError):
        return False


def _product(rows: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, ZERO, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product
