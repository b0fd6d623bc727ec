"""Latent attention: cross-attention of token vectors to a learned dictionary, NV-Embed's last layer before pooling."""

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention


class LatentAttention(torch.nn.Module):
    """Cross-attention of token vectors to learned latents, then a feed-forward network, both with a residual.

    With h the token vectors and L the latents: ``h = h + W_o attention(W_q norm(h), W_kv norm'(L))``, in `heads` heads
    of `head_width`, then ``h = h + W_2 (a * gelu(g)) + b_2`` with ``[a, g] = W_1 norm''(h) + b_1``, four times as wide
    (GEGLU). Every norm is a layer norm with weight and bias. Every token attends to all latents and to no other token.

    Parameters
    ----------
    width
        Width of token vectors and latents.
    latents
        Number of latents.
    heads, head_width
        Number and width of the attention heads.

    References
    ----------
    Lee et al., "NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models", 2024, section 3.1.
    Weights are named as in NVIDIA's `LatentAttentionModel`.
    """

    def __init__(self, *, width: int, latents: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.latents = torch.nn.Parameter(torch.zeros(latents, width))
        self.cross_attend_blocks = torch.nn.ModuleList([_CrossAttention(width, heads, head_width), _FeedForward(width)])

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform token vectors [texts, tokens, width] into the same shape."""
        attend, feed_forward = self.cross_attend_blocks
        tokens = tokens + attend(tokens, self.latents)
        return tokens + feed_forward(tokens)


class _CrossAttention(torch.nn.Module):
    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.fn = torch.nn.ModuleDict(
            {
                "to_q": torch.nn.Linear(width, heads * head_width, bias=False),
                "to_kv": torch.nn.Linear(width, 2 * heads * head_width, bias=False),
                "to_out": torch.nn.Linear(heads * head_width, width, bias=False),
            }
        )
        self.norm, self.norm_context = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.heads = heads
        self._cached: tuple[Tensor, Tensor] | None = None
        self._cache_key: tuple[tuple[int, int], ...] = ()

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        keys, values = self._keys_and_values(latents)
        queries = self.fn["to_q"](self.norm(tokens)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        shape = (len(tokens), -1, -1, -1)
        output = scaled_dot_product_attention(queries, keys.expand(shape), values.expand(shape))
        return self.fn["to_out"](output.transpose(1, 2).flatten(2))

    def _keys_and_values(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, each [1, heads, latents, head_width].

        For 512 latents of width 4,096 they cost as much as 300 tokens, so inference caches them until one of their
        weights changes.
        """
        project, norm = self.fn["to_kv"], self.norm_context
        weights = (latents, *project.parameters(), *norm.parameters())
        key = tuple((weight.data_ptr(), weight._version) for weight in weights)
        if self._cached is not None and self._cache_key == key and not torch.is_grad_enabled():
            return self._cached
        both = project(norm(latents)).unflatten(-1, (2, self.heads, -1)).permute(1, 2, 0, 3)
        keys_and_values = both[0][None].contiguous(), both[1][None].contiguous()
        self._cached, self._cache_key = (None if torch.is_grad_enabled() else keys_and_values), key
        return keys_and_values


class _FeedForward(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fn = torch.nn.ModuleDict(
            {
                "net": torch.nn.Sequential(
                    torch.nn.Linear(width, 8 * width), _GatedGelu(), torch.nn.Linear(4 * width, width)
                )
            }
        )
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fn["net"](self.norm(tokens))


class _GatedGelu(torch.nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        values, gates = vectors.chunk(2, dim=-1)
        return values * gelu(gates)
