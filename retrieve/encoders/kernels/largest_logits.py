"""The largest logit of each term over a text's tokens, and its gradient, which touches no other token.

Of SPLADE's logits, [tokens, vocabulary], only the largest of each text and term are of use, and only those above zero
have a gradient: some hundreds a text. Going back through the whole product would cost twice as much as making it.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_MAX_LOGITS = 1 << 22
"""The most logits that stand in memory at once, in each of several batches under way: 16 MB in float32."""


def largest_logits(hidden: Tensor, weight: Tensor, lengths: Sequence[int]) -> Tensor:
    """Give the largest of ``hidden @ weight.T`` over each text's tokens, float32 [texts, terms]; 0 where it has none.

    Parameters
    ----------
    hidden
        [tokens, width], one text behind another.
    weight
        [terms, width].
    lengths
        The number of each text's tokens.
    """
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        found: Tensor = _LargestLogits.apply(hidden, weight, tuple(lengths))
        return found
    largest = torch.zeros((len(lengths), len(weight)), device=hidden.device)
    for texts, block, logits in blocks(hidden, weight, lengths):
        largest[texts, block] = logits.amax(dim=1).float()
    return largest


def blocks(hidden: Tensor, weight: Tensor, lengths: Sequence[int]) -> Iterator[tuple[slice, slice, Tensor]]:
    """Multiply, some terms at a time: give texts of one length, terms, and their logits [texts, length, terms]."""
    # Blocks of terms rather than of tokens, which a processor multiplies a quarter faster.
    terms = max(1, _MAX_LOGITS // max(1, len(hidden)))
    for low in range(0, len(weight), terms):
        block = slice(low, low + terms)
        logits = torch.nn.functional.linear(hidden, weight[block])
        for texts, tokens, length in _equal_lengths(lengths):
            yield texts, block, logits[tokens].unflatten(0, (-1, length))


class _LargestLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, lengths: tuple[int, ...]) -> Tensor:
        largest = torch.zeros((len(lengths), len(weight)), device=hidden.device)
        tokens = torch.zeros(largest.shape, dtype=torch.int32, device=hidden.device)
        for texts, block, logits in blocks(hidden, weight, lengths):
            values, at = logits.max(dim=1)
            largest[texts, block], tokens[texts, block] = values.float(), at.int()
        counts = torch.tensor(lengths, dtype=torch.int32, device=hidden.device)
        tokens += (counts.cumsum(0, dtype=torch.int32) - counts)[:, None]
        ctx.save_for_backward(hidden, weight, tokens)
        ctx.empty = counts == 0
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden, weight, tokens = ctx.saved_tensors
        texts, terms = above.masked_fill(ctx.empty[:, None], 0).nonzero(as_tuple=True)
        places = torch.stack((tokens[texts, terms].long(), terms))
        with torch.autocast(hidden.device.type, enabled=False):
            # One gradient of a token and a term, whatever the number of texts: a text's tokens are its own.
            sparse = torch.sparse_coo_tensor(
                places, above[texts, terms].float(), (len(hidden), len(weight)), check_invariants=False
            )
            to_hidden = torch.sparse.mm(sparse, weight.float()) if ctx.needs_input_grad[0] else None
            to_weight = torch.sparse.mm(sparse.t(), hidden.float()) if ctx.needs_input_grad[1] else None
        if to_hidden is not None:
            to_hidden = to_hidden.to(hidden.dtype)
        if to_weight is not None:
            to_weight = to_weight.to(weight.dtype)
        return to_hidden, to_weight, None


def _equal_lengths(lengths: Sequence[int]) -> Iterator[tuple[slice, slice, int]]:
    """Find neighbours of equal length, which are pooled in one step: their texts, their tokens, and the length."""
    text = token = 0
    for length, group in groupby(lengths):
        texts = len(list(group))
        if length:
            yield slice(text, text + texts), slice(token, token + texts * length), length
        text, token = text + texts, token + texts * length
