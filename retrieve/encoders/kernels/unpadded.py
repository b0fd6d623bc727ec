"""BERT and its kin over texts laid end to end: no layer computes padding, and each text attends to itself alone.

transformers runs a batch as rows of equal width, of which the shorter ones are padded. Only attention needs the rows;
all else is done token by token. Here a stack of layers takes the tokens out of the rows, runs over them, and puts
them back, so that padding costs nothing and the layers are given few different numbers of tokens. Only inference on a
processor is changed: in training, on another device or compiled, a stack does what it did.
"""

import math
from itertools import accumulate
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from retrieve.encoders.batching import STEP
from retrieve.encoders.kernels.packed_linear import is_cpu_inference

_STACKS = {"BertEncoder", "RobertaEncoder", "XLMRobertaEncoder", "CamembertEncoder", "ElectraEncoder"}
_EXPECTED = {"use_cache", "return_dict", "position_ids", "cache_position"}
ROUND_FROM = 512
"""From so many tokens on a batch is filled up to a multiple of `STEP`."""
LENGTH_STEP = 16
"""Texts that attend in bfloat16 are filled up to a multiple of it, for the same reason."""
MIN_TOKENS = 64
"""Fewer than these, as those of one query, torch's own attention takes at once; ours has a dozen steps."""
MAX_SCORES = 480_000
"""Attention scores that are held at a time: a megabyte in bfloat16, what a core's cache has room for."""


def unpad(model: nn.Module) -> bool:
    """Have the stacks of layers in a model run without padding; whether there is one that can."""
    stacks = [module for module in model.modules() if _is_known(module)]
    for stack in stacks:
        stack.forward = _Unpadded(stack)
    return bool(stacks)


class Layout(NamedTuple):
    """Where the tokens of a batch's texts stand, shorter texts first.

    Parameters
    ----------
    places
        int64 [tokens], the place of each in the rows laid end to end, with some places again at the end as filling.
    tokens
        How many are real.
    groups
        Texts of the same length, which stand together: the first one's first token, how many texts, their length.
    """

    places: Tensor
    tokens: int
    groups: list[tuple[int, int, int]]

    @classmethod
    def of(cls, attended: Tensor) -> Self:
        """Lay out the tokens that are attended, bool [texts, width]."""
        lengths, order = attended.sum(dim=1).sort(stable=True)
        rows, columns = attended[order].nonzero(as_tuple=True)
        places = order[rows] * attended.shape[1] + columns
        tokens = len(places)
        if tokens >= ROUND_FROM:
            places = torch.cat((places, places[: -tokens % STEP]))
        found, counts = (column.tolist() for column in lengths.unique_consecutive(return_counts=True))
        starts = accumulate((count * length for count, length in zip(counts, found, strict=True)), initial=0)
        return cls(places, tokens, [group for group in zip(starts, counts, found, strict=False) if group[2]])


class _Unpadded:
    """Stands for the forward pass of a stack of layers, as BERT's ``encoder``."""

    def __init__(self, stack: nn.Module) -> None:
        self._stack: Any = stack

    def __call__(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **options: Any
    ) -> Any:
        if others or not self._takes(hidden_states, attention_mask, options):
            return type(self._stack).forward(self._stack, hidden_states, attention_mask, *others, **options)
        rows = hidden_states.flatten(0, 1)
        layout = Layout.of(_attended(hidden_states, attention_mask))
        hidden = rows[layout.places]
        for layer in self._stack.layer:
            hidden = layer.attention.output(_context(layer.attention.self, hidden, layout), hidden)
            hidden = layer.output(layer.intermediate(hidden), hidden)
        found = torch.zeros_like(rows)
        found[layout.places[: layout.tokens]] = hidden[: layout.tokens]
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=found.view_as(hidden_states))

    def _takes(self, hidden: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
        """Whether nothing is asked for that only the plain pass gives, such as each layer's states."""
        return (
            is_cpu_inference(hidden)
            and not self._stack.training
            and (mask is None or _is_padding_mask(mask))
            and options.get("return_dict", True) is not False
            and all(name in _EXPECTED or _is_unset(value) for name, value in options.items())
            and not any(module._forward_hooks or module._forward_pre_hooks for module in self._stack.modules())
        )


def _context(own: Any, hidden: Tensor, layout: Layout) -> Tensor:
    """Attend as a layer's ``self`` does; queries, keys and values are gone when it is done."""
    query, key, value = own.query(hidden), own.key(hidden), own.value(hidden)
    return attend(query, key, value, own.num_attention_heads, layout)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, layout: Layout) -> Tensor:
    """Give softmax(query @ key.T / sqrt(width)) @ value of each text and head, [tokens, heads * width] as they are."""
    found = torch.empty_like(query)
    found[layout.tokens :] = 0
    for start, count, length in layout.groups:
        parts = (
            tensor[start : start + count * length].view(count, length, heads, -1).transpose(1, 2)
            for tensor in (query, key, value, found)
        )
        _attend_group(*parts)
    return found


def _attend_group(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
    """Attend in `out`; all are [texts, heads, length, width]."""
    if query.dtype != torch.bfloat16 or query.shape[0] * query.shape[2] < MIN_TOKENS:
        out.copy_(scaled_dot_product_attention(query, key, value))
        return
    beyond = _attend_in_bfloat16(query, key, value, out)
    for text in beyond.nonzero().flatten().tolist():
        own = slice(text, text + 1)  # With three dimensions torch takes half as long again.
        out[own].copy_(scaled_dot_product_attention(query[own], key[own], value[own]))


def _attend_in_bfloat16(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Attend with scores in bfloat16, twice as fast as torch does; says whose exponentials are out of range, [texts].

    The first key is taken from every key, which changes no softmax, and powers of two need no maximum taken from the
    scores, as long as they and their sums can be represented. The vectors are as near to float32's as torch's are.
    """
    texts, heads, length, width = query.shape
    rounded = -(-length // LENGTH_STEP) * LENGTH_STEP
    laid = query.new_empty(3, texts, heads, rounded, width)
    laid[:, :, :, length:] = 0
    torch.mul(query, math.log2(math.e) / math.sqrt(width), out=laid[0, :, :, :length])
    torch.sub(key, key[:, :, :1], out=laid[1, :, :, :length])
    laid[2, :, :, :length] = value
    scaled, shifted, values = laid.flatten(1, 2)
    shifted = shifted.transpose(1, 2)
    mixed, sums = torch.empty_like(scaled), query.new_empty(texts * heads, length, 1)
    sizes = _powers_of_two(texts, max(1, MAX_SCORES // (heads * length * length)))
    room = query.new_empty(sizes[0] * heads, rounded, rounded)
    low = 0
    for size in sizes:
        high = low + size * heads
        weights = torch.bmm(scaled[low:high], shifted[low:high], out=room[: high - low]).exp2_()
        torch.sum(weights[:, :length, :length], dim=-1, keepdim=True, out=sums[low:high])
        torch.bmm(weights, values[low:high], out=mixed[low:high])
        low = high
    sums = sums.view(texts, heads, length, 1)
    torch.div(mixed.view(texts, heads, rounded, width)[:, :, :length], sums, out=out)
    return ~(sums.flatten(1).amax(dim=1) < 2.0**100)  # Neither infinity nor NaN is.


def _powers_of_two(count: int, most: int) -> list[int]:
    """Divide a number into powers of two up to `most`, the largest first: few different ones serve all numbers."""
    largest = 1 << (most.bit_length() - 1)
    rest = count % largest
    return [largest] * (count // largest) + [1 << bit for bit in range(rest.bit_length())[::-1] if rest >> bit & 1]


def _attended(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Give which tokens are attended, bool [texts, width]."""
    if mask is None:
        return hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    columns = mask[:, 0, 0].expand(hidden.shape[:2])
    return columns if columns.dtype == torch.bool else columns == 0


def _is_padding_mask(mask: Tensor) -> bool:
    """Whether every query and head sees the same tokens of a text, as those of a padded batch do."""
    return mask.dim() == 4 and mask.shape[1] == 1 and bool((mask == mask[:, :, :1]).all())


def _is_unset(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list) and all(item is None for item in value))


def _is_known(module: nn.Module) -> bool:
    config: Any = getattr(module, "config", None)
    return (
        type(module).__name__ in _STACKS
        and type(module).__module__.startswith("transformers.")
        and not config.is_decoder
        and not config.add_cross_attention
        and getattr(config, "position_embedding_type", None) in (None, "absolute")
    )
