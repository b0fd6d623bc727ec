"""Linear layers that multiply bytes instead of float32: three to four times as fast on a processor with VNNI.

Each output channel of the weights has a scale, and so has each row of the input, found as it is computed. So a text's
result does not depend on the texts beside it. Where all tokens attend to a row, it keeps 15 bits: what rounding took
from it is rounded and multiplied too. oneDNN multiplies unsigned rows by signed weights; sums are exact, in 32
bits. Layers outside the stack of layers (embeddings, heads) stay in float32, as do attention, normalisation and GELU.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from indexing.errors import InputError
from retrieve.encoders.kernels.memory import page_out
from retrieve.encoders.kernels.packed_linear import (
    alike,
    concatenated,
    is_cpu_inference,
    packed_products,
    state_of,
)

LEVELS = 127
"""Rows and weights are rounded to whole numbers from -127 to 127."""
ZERO = 128
"""Zero of the unsigned rows, which oneDNN multiplies fast; signed rows have a slow path only."""
ROWS_AT_ONCE = 256
"""Rows of a feed-forward block that are computed at once: their inner vectors stay in the cache."""
PRECISE_FROM = 32
"""Number of tokens from which a text's first and last keep 15 bits: it would take a third of a short query's time."""
_NUMBERS_AT_ONCE = 1 << 16
"""Numbers that are scaled at once, for the same reason."""
_SMALLEST = 1e-30
_SHIFT = ZERO + 0.5  # The conversion to bytes cuts off the fraction.


class QuantizedRows(NamedTuple):
    """Rows as bytes, uint8 [rows, width], with the largest size in each, float32 [rows, 1].

    Row ``i`` is ``(bytes - ZERO) * largest / LEVELS``.
    """

    values: Tensor
    largest: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "QuantizedRows":
        """Quantize float32 rows [rows, width]."""
        count = max(1, _NUMBERS_AT_ONCE // rows.shape[1])
        if len(rows) <= count:
            largest = rows.abs().amax(-1, keepdim=True).clamp_(min=_SMALLEST)
            return cls((rows * largest.reciprocal().mul_(LEVELS)).add_(_SHIFT).to(torch.uint8), largest)
        largest = torch.maximum(rows.amax(-1, keepdim=True), rows.amin(-1, keepdim=True).neg_()).clamp_(min=_SMALLEST)
        factors = largest.reciprocal().mul_(LEVELS)
        values, scaled = torch.empty_like(rows, dtype=torch.uint8), rows.new_empty((count, rows.shape[1]))
        for start in range(0, len(rows), count):
            part = slice(start, start + count)
            values[part] = torch.mul(rows[part], factors[part], out=scaled[: len(rows) - start]).add_(_SHIFT)
        return cls(values, largest)

    @classmethod
    def with_lost(cls, rows: Tensor, precise: Tensor) -> "QuantizedRows":
        """Quantize rows, and after them what rounding took from the `precise` ones of them."""
        whole = cls.of(rows)
        kept = (whole.values[precise].float() - ZERO).mul_(whole.largest[precise] / LEVELS)
        return cls(*map(torch.cat, zip(whole, cls.of(rows[precise] - kept), strict=True)))


class QuantizedWeight(NamedTuple):
    """Weights of a layer or of several, packed as bytes, with what a product needs for each output channel."""

    packed: Tensor
    scales: Tensor
    zeros: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> "QuantizedWeight":
        """Quantize float32 weights [channels, width]; the scales include the rows' division by `LEVELS`."""
        scales = weight.abs().amax(1).clamp_(min=_SMALLEST).div_(LEVELS)
        rounded = weight.div(scales[:, None]).round_().to(torch.int8)
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        return cls(torch.ops.onednn.qlinear_prepack(rounded, None), scales / LEVELS, zeros)

    def product(self, rows: Tensor, bias: Tensor | None, precise: Tensor | None = None) -> Tensor:
        """Return the product with rows, float32 [rows, channels]; `precise` as in `products`."""
        if precise is not None and len(precise) == 0:
            precise = None
        quantized = QuantizedRows.of(rows) if precise is None else QuantizedRows.with_lost(rows, precise)
        product, lost = self.multiply(quantized).split((len(rows), len(quantized.values) - len(rows)))
        largest = quantized.largest[: len(rows)]
        product = product.mul_(largest) if bias is None else torch.addcmul(bias, product, largest, out=product)
        if precise is not None:
            product[precise] += lost.mul_(quantized.largest[len(rows) :])
        return product

    def multiply(self, rows: QuantizedRows) -> Tensor:
        """Return the product with the bytes of rows, without their scales, float32 [rows, channels]."""
        product: Tensor = torch.ops.onednn.qlinear_pointwise.default(
            *(rows.values, 1.0, ZERO, self.packed, self.scales, self.zeros),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        return product


class Int8Linear(nn.Linear):
    """`torch.nn.Linear` that multiplies in 8 bits at inference on a CPU; it keeps its float32 weights."""

    _packed: tuple[Any, QuantizedWeight] | None = None
    _joined: tuple[Any, QuantizedWeight, Tensor | None] | None = None

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``rows @ weight.T + bias``, [..., out_features]."""
        if not self.can_quantize(rows):
            self._packed = self._joined = None  # In training, fused optimizers change weights, not their version.
            return super().forward(rows)
        return self.product(rows.flatten(0, -2)).unflatten(0, rows.shape[:-1])

    def can_quantize(self, rows: Tensor) -> bool:
        """Return whether bytes can be multiplied: for inference on a CPU, in float32."""
        return (
            is_cpu_inference(rows)
            and rows.dtype == self.weight.dtype == torch.float32
            and self.weight.device.type == "cpu"
            and rows.numel() > 0
        )

    def product(self, rows: Tensor, precise: Tensor | None = None) -> Tensor:
        """Return the product of rows [rows, in_features], float32 [rows, out_features]; `precise` as in `products`."""
        key = state_of([self])
        if self._packed is None or self._packed[0] != key:
            self._packed = key, QuantizedWeight.of(self.weight.detach())
            page_out(self.weight)
        return self._packed[1].product(rows, self._parameters["bias"], precise)

    def joined_products(self, rows: Tensor, others: "Sequence[Int8Linear]", precise: Tensor | None) -> Sequence[Tensor]:
        """Return the products of the same rows with this layer and others, in one operation; as `products`."""
        layers = (self, *others)
        key = state_of(layers)
        if self._joined is None or self._joined[0] != key:
            weight, bias = concatenated(layers)
            self._joined = key, QuantizedWeight.of(weight), bias
        product = self._joined[1].product(rows, self._joined[2], precise)
        return product.split([layer.out_features for layer in layers], dim=-1)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the packed weights: they cannot be copied, and copies pack their own."""
        return {name: value for name, value in vars(self).items() if name not in ("_packed", "_joined")}


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


def products(rows: Tensor, layers: Sequence[nn.Module], precise: Tensor | None = None) -> Sequence[Tensor]:
    """Return the output of several layers for the same rows [rows, width].

    Layers of one type are multiplied as one.

    Parameters
    ----------
    precise
        int64, the places of rows that keep 15 bits when rows are quantized.
    """
    quantized = [layer for layer in layers if isinstance(layer, Int8Linear)]
    if len(quantized) == len(layers) and all(layer.can_quantize(rows) for layer in quantized):
        first, *others = quantized
        if all(alike(first, other) for other in others):
            return first.joined_products(rows, others, precise)
    joined = packed_products(rows, layers)
    return [layer(rows) for layer in layers] if joined is None else joined


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
            packed = torch.ops.onednn.qlinear_prepack(weight, None)
            quantized = QuantizedWeight(packed, torch.ones(2), torch.zeros(2, dtype=torch.int32))
            product = quantized.multiply(QuantizedRows(rows, torch.ones(2, 1)))
        return torch.equal(product, (rows.float() - ZERO) @ weight.float().T)
    except (AttributeError, RuntimeError):
        return False
