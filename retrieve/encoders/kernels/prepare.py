"""Prepare the transformers of an encoder for the device that they run on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from retrieve.encoders.kernels.int8_linear import quantize_layers
from retrieve.encoders.kernels.packed_linear import pack
from retrieve.encoders.kernels.unpadded import reads_mask, unpad

if TYPE_CHECKING:
    import torch


def prepare(modules: Iterable[Any], device: "torch.device", *, int8: bool) -> None:
    """Quantize layers if `int8`, pack them on a CPU, and let known models run without padding on a CPU or CUDA GPU.

    Parameters
    ----------
    modules
        The `Transformer` modules of an encoder.
    """
    for module in modules:
        if int8:
            quantize_layers(module.model)
        if device.type == "cpu":
            pack(module.model)
        if device.type in ("cpu", "cuda"):
            module.unpadded, module.reads_mask = unpad(module.model), reads_mask(module.model)
