"""Largest logit of each term over a text's tokens, with a sparse gradient.

SPLADE uses only the largest of the logits [tokens, vocabulary] of each text and term, and only those above zero have
a gradient: some hundreds per text. Backpropagation through the full product would cost twice as much as the product.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_MAX_LOGITS = 1 << 22
"""Maximum logits in memory at once on a CPU, for each running batch: 16 MB in float32."""
_MAX_LOGITS_GPU = 1 << 28
"""The same on a GPU, for the padded logits: 512 MB in bfloat16. Fewer would leave it waiting for the next kernel."""

Blocks = Iterator[tuple[slice | Tensor, slice, Tensor]]
"""Texts, terms, and their logits [texts, tokens, terms]."""


def largest_logits(hidden: Tensor, weight: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the maximum of ``hidden @ weight.T`` over each text's tokens, float32 [texts, terms]; 0 without tokens.

    Parameters
    ----------
    hidden
        [tokens, width], the tokens of all texts concatenated.
    weight
        [terms, width].
    lengths
        Number of tokens of each text.
    """
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        trainable: Tensor = _LargestLogits.apply(hidden, weight, tuple(lengths))
        return trainable
    largest = torch.zeros((len(lengths), len(weight)), device=hidden.device)
    for texts, block, logits in logit_blocks(hidden, weight, lengths):
        largest[texts, block] = logits.amax(dim=1).float()
    return largest


def logit_blocks(hidden: Tensor, weight: Tensor, lengths: Sequence[int]) -> Blocks:
    """Yield the logits in blocks: the texts, a slice of terms, and the logits [texts, tokens, terms].

    On a CPU the texts of a block are adjacent and equally long. A GPU takes all texts at once, and the logits of the
    missing tokens of shorter texts are -inf. Texts without tokens are left out.
    """
    blocks: Callable[[Tensor, Tensor, Sequence[int]], Blocks] = (
        _equal_length_blocks if hidden.device.type == "cpu" else _padded_blocks
    )
    return blocks(hidden, weight, lengths)


def _equal_length_blocks(hidden: Tensor, weight: Tensor, lengths: Sequence[int]) -> Blocks:
    # A CPU multiplies blocks of terms a quarter faster than blocks of tokens.
    for block in _term_blocks(len(weight), _MAX_LOGITS // max(1, len(hidden))):
        logits = torch.nn.functional.linear(hidden, weight[block])
        for texts, tokens, length in _equal_lengths(lengths):
            yield texts, block, logits[tokens].unflatten(0, (-1, length))


def _padded_blocks(hidden: Tensor, weight: Tensor, lengths: Sequence[int]) -> Blocks:
    counts = torch.tensor(lengths, device=hidden.device)
    texts = counts.nonzero().squeeze(1)
    if not len(texts):
        return
    counts = counts[texts]
    width = max(lengths)
    rows, columns = (torch.arange(width, device=hidden.device) < counts[:, None]).nonzero(as_tuple=True)
    for block in _term_blocks(len(weight), _MAX_LOGITS_GPU // (len(texts) * width)):
        logits = torch.nn.functional.linear(hidden, weight[block])
        padded = logits.new_full((len(texts), width, logits.shape[1]), -torch.inf)
        padded[rows, columns] = logits
        yield texts, block, padded


def _term_blocks(terms: int, size: int) -> Iterator[slice]:
    return (slice(low, low + max(1, size)) for low in range(0, terms, max(1, size)))


class _LargestLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, lengths: tuple[int, ...]) -> Tensor:
        largest = torch.zeros((len(lengths), len(weight)), device=hidden.device)
        tokens = torch.zeros(largest.shape, dtype=torch.int32, device=hidden.device)
        for texts, block, logits in logit_blocks(hidden, weight, lengths):
            values, at = logits.max(dim=1)
            largest[texts, block], tokens[texts, block] = values.float(), at.int()
        counts = torch.tensor(lengths, dtype=torch.int32, device=hidden.device)
        tokens += (counts.cumsum(0, dtype=torch.int32) - counts)[:, None]
        ctx.save_for_backward(hidden, weight, tokens)
        ctx.empty = counts == 0
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden, weight, tokens = ctx.saved_tensors
        texts, terms = gradient.masked_fill(ctx.empty[:, None], 0).nonzero(as_tuple=True)
        indices = torch.stack((tokens[texts, terms].long(), terms))
        with torch.autocast(hidden.device.type, enabled=False):
            # The indices are unique, because every token belongs to one text.
            sparse = torch.sparse_coo_tensor(
                indices, gradient[texts, terms].float(), (len(hidden), len(weight)), check_invariants=False
            )
            to_hidden = torch.sparse.mm(sparse, weight.float()).to(hidden.dtype) if ctx.needs_input_grad[0] else None
            to_weight = (
                torch.sparse.mm(sparse.t(), hidden.float()).to(weight.dtype) if ctx.needs_input_grad[1] else None
            )
        return to_hidden, to_weight, None


def _equal_lengths(lengths: Sequence[int]) -> Iterator[tuple[slice, slice, int]]:
    """Group adjacent texts of equal length, which are pooled in one step; yield their texts, tokens and length."""
    text = token = 0
    for length, group in groupby(lengths):
        texts = len(list(group))
        if length:
            yield slice(text, text + texts), slice(token, token + texts * length), length
        text, token = text + texts, token + texts * length
