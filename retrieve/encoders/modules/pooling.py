"""Pooling of a text's token vectors into one vector."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from indexing.errors import ModelError
from indexing.plurals import counted
from retrieve.encoders.modules.module import Features, Module

# In the order in which older config files concatenate several modes.
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_LATER_FLAGS = ("pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken")


class Pooling(Module):
    """Pooling of token vectors in float32; several modes are concatenated in the given order.

    Modes, over the attended tokens: "cls", the first; "max", the maximum of each dimension; "mean", the average;
    "mean_sqrt_len_tokens", the sum divided by the square root of their number; "weightedmean", the average with weights
    1, 2, 3, … from the first token on (SGPT); "lasttoken", the last. With ``include_prompt=False`` the prompt's tokens
    are attended to but not pooled.
    """

    config_keys = ("embedding_dimension", "pooling_mode", "include_prompt")

    def __init__(
        self,
        embedding_dimension: int | None = None,
        pooling_mode: str | Sequence[str] = "mean",
        include_prompt: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dimension = embedding_dimension
        self.pooling_mode = [pooling_mode] if isinstance(pooling_mode, str) else list(pooling_mode)
        self.include_prompt = include_prompt
        unknown = [mode for mode in self.pooling_mode if mode not in _LEGACY_MODES.values()]
        if unknown or not self.pooling_mode:
            raise ModelError(f"pooling mode {unknown} is not one of {', '.join(_LEGACY_MODES.values())}")

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Translate the six booleans of older config files; with none set the mode is the mean."""
        if "word_embedding_dimension" in config:
            config["embedding_dimension"] = config.pop("word_embedding_dimension")
        flags = {name: config.pop(name) for name in tuple(config) if name in _LEGACY_MODES}
        if "pooling_mode" not in config:
            config["pooling_mode"] = [mode for name, mode in _LEGACY_MODES.items() if flags.get(name)] or ["mean"]
        return config

    @property
    def saved_config(self) -> dict[str, Any]:
        """Settings as booleans, unless the order of several modes cannot be expressed that way."""
        modes = [mode for mode in _LEGACY_MODES.values() if mode in self.pooling_mode]
        if modes != self.pooling_mode:
            return self.config
        flags = {name: mode in modes for name, mode in _LEGACY_MODES.items()}
        # The last two modes and `include_prompt` are unknown to older releases, so write them only if used.
        known = [name for name in flags if flags[name] or name not in _LATER_FLAGS]
        config = {"word_embedding_dimension": self.embedding_dimension} | {name: flags[name] for name in known}
        return config if self.include_prompt else config | {"include_prompt": False}

    def forward(self, features: Features) -> Features:
        """Pool `token_embeddings` [texts, tokens, width] into `sentence_embedding` [texts, width * modes]."""
        tokens = features["token_embeddings"].float()
        attended = features["attention_mask"].bool()
        starts = attended.int().argmax(dim=1)
        pooled = attended
        if not self.include_prompt and features.get("prompt_length"):
            positions = torch.arange(attended.shape[1], device=attended.device)
            pooled = attended & (positions >= (starts + features["prompt_length"])[:, None])
        vectors = [_POOL[mode](tokens, pooled, starts) for mode in self.pooling_mode]
        if (weights := features.get("token_weights_sum")) is not None:
            vectors = [
                _divided(mode, vector, pooled, weights) for mode, vector in zip(self.pooling_mode, vectors, strict=True)
            ]
        features["sentence_embedding"] = vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the input width times the number of modes; the input width is stored if it was not set.

        Raises
        ------
        ModelError
            If the stored width is another.
        """
        if incoming is not None and self.embedding_dimension not in (None, incoming):
            raise ModelError(
                f"the embedding dimension of Pooling is {self.embedding_dimension}, but its token vectors have "
                f"{counted(incoming, 'dimension')}"
            )
        self.embedding_dimension = width = self.embedding_dimension or incoming
        return width * len(self.pooling_mode) if width else None


def _sum(tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum over the tokens as one batched product, without a masked copy of `tokens`."""
    return torch.bmm(weights[:, None, :], tokens).squeeze(1)


def _mean(tokens: Tensor, pooled: Tensor, starts: Tensor) -> Tensor:
    weights = pooled.to(tokens.dtype)
    return _sum(tokens, weights) / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


def _mean_sqrt_length(tokens: Tensor, pooled: Tensor, starts: Tensor) -> Tensor:
    weights = pooled.to(tokens.dtype)
    return _sum(tokens, weights) / weights.sum(dim=1, keepdim=True).clamp(min=1e-9).sqrt()


def _weighted_mean(tokens: Tensor, pooled: Tensor, starts: Tensor) -> Tensor:
    positions = torch.arange(1, tokens.shape[1] + 1, device=tokens.device) - starts[:, None]
    weights = pooled * positions.to(tokens.dtype)
    return _sum(tokens, weights) / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


def _divided(mode: str, vectors: Tensor, pooled: Tensor, weights: Tensor) -> Tensor:
    """Return means of weighted tokens divided by the sum of the weights instead of the number of tokens."""
    if mode not in ("mean", "mean_sqrt_len_tokens"):
        return vectors
    ratio = pooled.sum(dim=1).clamp(min=1e-9) / weights.clamp(min=1e-9)
    return vectors * (ratio if mode == "mean" else ratio.sqrt())[:, None]


def _max(tokens: Tensor, pooled: Tensor, starts: Tensor) -> Tensor:
    return tokens.masked_fill(~pooled[..., None], float("-inf")).amax(dim=1)


def _first(tokens: Tensor, pooled: Tensor, starts: Tensor) -> Tensor:
    return tokens[torch.arange(len(tokens), device=tokens.device), pooled.int().argmax(dim=1)]


def _last(tokens: Tensor, pooled: Tensor, starts: Tensor) -> Tensor:
    last = tokens.shape[1] - 1 - pooled.int().flip(1).argmax(dim=1)
    vectors = tokens[torch.arange(len(tokens), device=tokens.device), last]
    return vectors * pooled.any(dim=1, keepdim=True)


_POOL = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_length,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
