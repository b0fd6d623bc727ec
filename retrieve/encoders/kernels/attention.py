"""Attention over concatenated texts: each text attends only to itself, and no score of padding is computed.

On a CPU, texts of equal length are computed together. A CUDA GPU has kernels for texts of any lengths: flash attention
in bfloat16 and float16, memory-efficient attention in float32.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from retrieve.encoders.kernels.layout import Layout

LENGTH_STEP = 16
"""Texts are filled up to a multiple of this length for attention in bfloat16, so that few shapes occur."""
MIN_TOKENS = 64
"""For fewer tokens, such as a single query, torch's attention is used: it is one call, ours has a dozen steps."""
MAX_SCORES = 480_000
"""Attention scores held at a time: a megabyte in bfloat16, which fits the cache of a core."""

Kernel = Callable[[Tensor, Tensor, Tensor, Layout, int | None], Tensor]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    layout: Layout,
    *,
    bias: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Return softmax(query @ key.T / sqrt(width) + bias) @ value of each text and head.

    Parameters
    ----------
    query, key, value
        [tokens, heads * width].
    bias
        [heads, longest text, longest text], added to the scores.
    window
        Tokens attend only to those at most this far away.
    """
    if layout.offsets is not None and bias is None and layout.tokens:
        windowed = window is not None and window < layout.longest - 1
        kernel = varlen_kernel(query.device, query.dtype, query.shape[1] // heads, windowed=windowed)
        if kernel is not None:
            query, key, value = (part.unflatten(1, (heads, -1)) for part in (query, key, value))
            return kernel(query, key, value, layout, window if windowed else None).flatten(1)
    output = torch.empty_like(query)
    output[layout.tokens :] = 0
    for start, count, length in layout.groups:
        queries, keys, values, out = (
            tensor[start : start + count * length].view(count, length, heads, -1).transpose(1, 2)
            for tensor in (query, key, value, output)
        )
        _attend_group(queries, keys, values, out, _score_mask(layout, length, bias, window))
    return output


def _score_mask(layout: Layout, length: int, bias: Tensor | None, window: int | None) -> Tensor | None:
    """Return the mask of scores for texts of a length: bool, or numbers to add; None for no mask."""
    if window is not None and window >= length - 1:
        window = None
    if bias is None and window is None:
        return layout.mask
    key = (length, window, None if bias is None else id(bias))
    if (mask := layout.cache.get(key)) is None:
        allowed = layout.mask
        if window is not None:
            places = torch.arange(length, device=layout.device)
            near = ((places[:, None] - places).abs() <= window)[None, None]
            allowed = near if allowed is None else near & allowed
        if bias is None:
            assert allowed is not None
            mask = allowed
        else:
            mask = bias[None, :, :length, :length]
            mask = mask.contiguous() if allowed is None else mask.masked_fill(~allowed, -torch.inf)
        layout.cache[key] = mask
    return mask


def _attend_group(query: Tensor, key: Tensor, value: Tensor, out: Tensor, mask: Tensor | None) -> None:
    """Compute the attention of texts of equal length into `out`; all are [texts, heads, length, width]."""
    few = query.shape[0] * query.shape[2] < MIN_TOKENS
    if mask is not None or query.dtype != torch.bfloat16 or query.device.type != "cpu" or few:
        out.copy_(scaled_dot_product_attention(query, key, value, attn_mask=mask))
        return
    overflowed = _attend_in_bfloat16(query, key, value, out)
    for text in overflowed.nonzero().flatten().tolist():
        one = slice(text, text + 1)  # Keep four dimensions: with three, torch takes half as long again.
        out[one].copy_(scaled_dot_product_attention(query[one], key[one], value[one]))


def _attend_in_bfloat16(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Compute attention with scores in bfloat16, twice as fast as torch; return which texts overflowed, bool [texts].

    Subtracting the first key from every key leaves the softmax unchanged. Powers of two then need no maximum subtracted
    from the scores, as long as they and their sums can be represented. Vectors are as close to float32 as torch's are.
    """
    texts, heads, length, width = query.shape
    rounded = -(-length // LENGTH_STEP) * LENGTH_STEP
    padded = query.new_empty(3, texts, heads, rounded, width)
    padded[:, :, :, length:] = 0
    torch.mul(query, math.log2(math.e) / math.sqrt(width), out=padded[0, :, :, :length])
    torch.sub(key, key[:, :, :1], out=padded[1, :, :, :length])
    padded[2, :, :, :length] = value
    scaled, shifted, values = padded.flatten(1, 2)
    shifted = shifted.transpose(1, 2)
    mixed, sums = torch.empty_like(scaled), query.new_empty(texts * heads, length, 1)
    sizes = _powers_of_two(texts, max(1, MAX_SCORES // (heads * length * length)))
    buffer = query.new_empty(sizes[0] * heads, rounded, rounded)
    low = 0
    for size in sizes:
        high = low + size * heads
        weights = torch.bmm(scaled[low:high], shifted[low:high], out=buffer[: high - low]).exp2_()
        torch.sum(weights[:, :length, :length], dim=-1, keepdim=True, out=sums[low:high])
        torch.bmm(weights, values[low:high], out=mixed[low:high])
        low = high
    sums = sums.view(texts, heads, length, 1)
    torch.div(mixed.view(texts, heads, rounded, width)[:, :, :length], sums, out=out)
    return ~(sums.flatten(1).amax(dim=1) < 2.0**100)  # True for infinity and NaN too.


def _powers_of_two(count: int, limit: int) -> list[int]:
    """Divide a number into powers of two up to `limit`, largest first, so that few sizes occur."""
    largest = 1 << (limit.bit_length() - 1)
    rest = count % largest
    return [largest] * (count // largest) + [1 << bit for bit in range(rest.bit_length())[::-1] if rest >> bit & 1]


@cache
def varlen_kernel(device: torch.device, dtype: torch.dtype, width: int, *, windowed: bool) -> Kernel | None:
    """Return the fastest kernel for texts of different lengths on a GPU that is right there; None if there is none.

    The kernels are internals of torch and limited to some GPUs, types and widths of a head, so each is tried out.
    """
    if device.type != "cuda":
        return None
    kernels = (_flash, _efficient) if dtype in (torch.float16, torch.bfloat16) else (_efficient,)
    window = 5 if windowed else None
    return next((kernel for kernel in kernels if _is_right(kernel, device, dtype, width, window)), None)


def _is_right(kernel: Kernel, device: torch.device, dtype: torch.dtype, width: int, window: int | None) -> bool:
    lengths = (1, 7, 7, 40)
    offsets = torch.tensor([0, 1, 8, 15, 55], dtype=torch.int32, device=device)
    layout = Layout(offsets, 55, [(0, 1, 1), (1, 2, 7), (15, 1, 40)], 40, offsets)
    draw = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 55, 2, width, generator=draw).to(device, dtype)
    slack = 1e-4 if dtype == torch.float32 else 2e-2
    try:
        found = kernel(query, key, value, layout, window)
        for text, *parts in zip(*(part.split(lengths) for part in (found, query, key, value)), strict=True):
            mask = _score_mask(layout, len(text), None, window)
            one, two, three = (part.float().transpose(0, 1)[None] for part in parts)
            exact = scaled_dot_product_attention(one, two, three, attn_mask=mask)[0].transpose(0, 1)
            if not torch.allclose(text.float(), exact, atol=slack):
                return False
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        # This torch lacks the kernel or has other arguments, or the kernel refuses the GPU, the type or the width.
        return False
    return True


def _flash(query: Tensor, key: Tensor, value: Tensor, layout: Layout, window: int | None) -> Tensor:
    sides = {} if window is None else {"window_size_left": window, "window_size_right": window}
    output: Tensor = torch.ops.aten._flash_attention_forward(
        *(query, key, value, layout.offsets, layout.offsets, layout.longest, layout.longest), 0.0, False, False, **sides
    )[0]
    return output


def _efficient(query: Tensor, key: Tensor, value: Tensor, layout: Layout, window: int | None) -> Tensor:
    if window is not None:
        raise NotImplementedError("the window of this kernel looks back only")
    parts = (part[None] for part in (query, key, value))
    output: Tensor = torch.ops.aten._efficient_attention_forward(
        *parts, None, layout.offsets, layout.offsets, layout.longest, layout.longest, 0.0, 0
    )[0]
    return output[0]
