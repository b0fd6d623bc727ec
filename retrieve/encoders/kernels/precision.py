"""Floating-point type that a model computes in."""

from typing import TYPE_CHECKING

from indexing.errors import InputError

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def resolve_dtype(dtype: str, device: "torch.device", *, compiled: bool = False) -> "torch.dtype":
    """Return the torch dtype of a name; "auto" is bfloat16 if `has_fast_bfloat16`, or else float32.

    Only the transformer computes in it; pooling, normalisation and activations always compute in float32. With "int8"
    a model is loaded in float32, and its linear layers multiply in 8 bits (`int8_linear`).

    Raises
    ------
    InputError
        If the name is not one of `DTYPES`, and for "int8" on a device where that is no gain, or compiled.
    """
    import torch

    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if dtype == "int8":
        from retrieve.encoders.kernels.int8_linear import check_int8

        check_int8(device)
        if compiled:
            raise InputError("compile does not go with dtype 'int8': leave out one of them")
        return torch.float32
    if dtype == "auto":
        dtype = "bfloat16" if has_fast_bfloat16(device) else "float32"
    resolved: torch.dtype = getattr(torch, dtype)
    return resolved


def has_fast_bfloat16(device: "torch.device") -> bool:
    """Return whether the device multiplies matrices in bfloat16 in hardware.

    A CPU needs AMX or avx512_bf16 (Intel since Cooper Lake, AMD since Zen 4). With AMX a matrix product is about 10
    times as fast as in float32; with avx512_bf16 about 2 times, and MiniLM encodes 1.8 times as many texts. Other CPUs
    emulate bfloat16, which is slower than float32.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, lambda: False)()) for check in checks)
