"""BERT-like encoders over concatenated texts: no layer computes padding, and each text attends only to itself.

transformers runs a batch as padded rows of equal width. Only attention needs the rows; all other layers work token by
token. Here a stack of layers takes the tokens out of the rows, runs over them and puts them back, so padding costs
nothing and layers get few different numbers of tokens. Only inference on a CPU changes: in training, compiled or on
another device, a stack computes as before.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from retrieve.encoders.batching import STEP
from retrieve.encoders.kernels.int8_linear import ROWS_AT_ONCE, Int8Linear, products
from retrieve.encoders.kernels.packed_linear import is_cpu_inference

_STACKS = {"BertEncoder", "RobertaEncoder", "XLMRobertaEncoder", "CamembertEncoder", "ElectraEncoder"}
_EXPECTED = {"use_cache", "return_dict", "position_ids", "cache_position"}
ROUND_FROM = 512
"""Batches of at least this many tokens are filled up to a multiple of `STEP`."""
LENGTH_STEP = 16
"""Texts are filled up to a multiple of this length for attention in bfloat16, for the same reason."""
MIN_TOKENS = 64
"""For fewer tokens, such as a single query, torch's attention is used: it is one call, ours has a dozen steps."""
MAX_SCORES = 480_000
"""Attention scores held at a time: a megabyte in bfloat16, which fits the cache of a core."""


_PADDED: ContextVar[bool] = ContextVar("padded", default=False)


@contextmanager
def padded() -> Iterator[None]:
    """Compute padding in this block and thread: there, tokens without attention have vectors too."""
    token = _PADDED.set(True)
    try:
        yield
    finally:
        _PADDED.reset(token)


def unpad(model: nn.Module) -> bool:
    """Make the known stacks of layers in a model run without padding; return whether there are any."""
    stacks = [module for module in model.modules() if _is_known_stack(module)]
    for stack in stacks:
        stack.forward = _UnpaddedForward(stack)
    return bool(stacks)


class Layout(NamedTuple):
    """Positions of the tokens of a batch's texts, shorter texts first.

    Parameters
    ----------
    positions
        int64 [tokens], the position of each token in the flattened rows; some are repeated at the end as filling.
    tokens
        Number of tokens without the filling.
    groups
        Adjacent texts of equal length: index of the first token, number of texts, length.
    """

    positions: Tensor
    tokens: int
    groups: list[tuple[int, int, int]]

    @classmethod
    def of(cls, attended: Tensor) -> Self:
        """Create the layout of the attended tokens, bool [texts, width]."""
        lengths, order = attended.sum(dim=1).sort(stable=True)
        rows, columns = attended[order].nonzero(as_tuple=True)
        positions = order[rows] * attended.shape[1] + columns
        tokens = len(positions)
        if tokens >= ROUND_FROM:
            positions = torch.cat((positions, positions[: -tokens % STEP]))
        distinct, counts = (column.tolist() for column in lengths.unique_consecutive(return_counts=True))
        starts = accumulate((count * length for count, length in zip(counts, distinct, strict=True)), initial=0)
        return cls(positions, tokens, [group for group in zip(starts, counts, distinct, strict=False) if group[2]])


class _UnpaddedForward:
    """Forward pass of a stack of layers, such as BERT's ``encoder``, without padding."""

    def __init__(self, stack: nn.Module) -> None:
        self._stack: Any = stack

    def __call__(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **options: Any
    ) -> Any:
        if others or not self._is_supported(hidden_states, attention_mask, options):
            return type(self._stack).forward(self._stack, hidden_states, attention_mask, *others, **options)
        rows = hidden_states.flatten(0, 1)
        layout = Layout.of(_attended(hidden_states, attention_mask))
        hidden = rows[layout.positions]
        for layer in self._stack.layer:
            hidden = layer.attention.output(_self_attention(layer.attention.self, hidden, layout), hidden)
            hidden = _feed_forward(layer, hidden)
        output = torch.zeros_like(rows)
        output[layout.positions[: layout.tokens]] = hidden[: layout.tokens]
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=output.view_as(hidden_states))

    def _is_supported(self, hidden: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
        """Return whether the call needs nothing that only the plain forward pass returns, such as hidden states."""
        return (
            is_cpu_inference(hidden)
            and not _PADDED.get()
            and not self._stack.training
            and (mask is None or _is_padding_mask(mask))
            and options.get("return_dict", True) is not False
            and all(name in _EXPECTED or _is_unset(value) for name, value in options.items())
            and not any(module._forward_hooks or module._forward_pre_hooks for module in self._stack.modules())
        )


def _self_attention(module: Any, hidden: Tensor, layout: Layout) -> Tensor:
    """Compute a layer's ``self`` attention; returning frees queries, keys and values before the next layer."""
    query, key, value = products(hidden, (module.query, module.key, module.value))
    return attend(query, key, value, module.num_attention_heads, layout)


def _feed_forward(layer: Any, hidden: Tensor) -> Tensor:
    """Compute a layer's feed-forward block; in 8 bits block by block, because quantizing is bound by memory."""
    if not isinstance(layer.output.dense, Int8Linear) or len(hidden) <= ROWS_AT_ONCE:
        output: Tensor = layer.output(layer.intermediate(hidden), hidden)
        return output
    return torch.cat([layer.output(layer.intermediate(part), part) for part in hidden.split(ROWS_AT_ONCE)])


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, layout: Layout) -> Tensor:
    """Return softmax(query @ key.T / sqrt(width)) @ value of each text and head; all are [tokens, heads * width]."""
    output = torch.empty_like(query)
    output[layout.tokens :] = 0
    for start, count, length in layout.groups:
        parts = (
            tensor[start : start + count * length].view(count, length, heads, -1).transpose(1, 2)
            for tensor in (query, key, value, output)
        )
        _attend_group(*parts)
    return output


def _attend_group(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
    """Compute the attention of texts of equal length into `out`; all are [texts, heads, length, width]."""
    if query.dtype != torch.bfloat16 or query.shape[0] * query.shape[2] < MIN_TOKENS:
        out.copy_(scaled_dot_product_attention(query, key, value))
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


def _attended(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask of attended tokens, bool [texts, width]."""
    if mask is None:
        return hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    columns = mask[:, 0, 0].expand(hidden.shape[:2])
    return columns if columns.dtype == torch.bool else columns == 0


def _is_padding_mask(mask: Tensor) -> bool:
    """Return whether all queries and heads of a text attend to the same tokens, as in a padded batch."""
    return mask.dim() == 4 and mask.shape[1] == 1 and bool((mask == mask[:, :, :1]).all())


def _is_unset(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list) and all(item is None for item in value))


def _is_known_stack(module: Any) -> bool:
    return (
        type(module).__name__ in _STACKS
        and type(module).__module__.startswith("transformers.")
        and not module.config.is_decoder
        and not module.config.add_cross_attention
        and getattr(module.config, "position_embedding_type", None) in (None, "absolute")  # transformers 4 sets it
    )
