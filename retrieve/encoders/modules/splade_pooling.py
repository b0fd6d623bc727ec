"""From masked-language-model logits to one weight for each term of the vocabulary."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from indexing.errors import ModelError
from retrieve.encoders.modules.module import Features, Module
from retrieve.encoders.modules.transformer import VocabularyLogits

_LOGITS_AT_ONCE = 1 << 24
"""The most logits that stand in memory at once: 64 MB in float32."""


class SpladePooling(Module):
    """Term weights log(1 + relu(logit)), the largest ("max", SPLADE++) or the sum ("sum", SPLADE) over the tokens.

    "log1p_relu" takes log(1 + ·) once more (Opensearch's sparse encoders). The activation never decreases, so the
    largest logit is found first and only it is activated; the logits of some tokens exist at a time.

    References
    ----------
    Formal et al., "SPLADE v2: Sparse lexical and expansion model for information retrieval", 2021.
    """

    config_keys = ("pooling_strategy", "activation_function", "embedding_dimension")

    def __init__(
        self, pooling_strategy: str = "max", activation_function: str = "relu", embedding_dimension: int | None = None
    ) -> None:
        super().__init__()
        if pooling_strategy not in ("max", "sum"):
            raise ModelError(f"pooling_strategy must be max or sum, not {pooling_strategy!r}")
        if activation_function not in ("relu", "log1p_relu"):
            raise ModelError(f"activation_function must be relu or log1p_relu, not {activation_function!r}")
        self.pooling_strategy, self.activation_function = pooling_strategy, activation_function
        self.embedding_dimension = embedding_dimension

    @classmethod
    def modernise(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Read the older name of the vocabulary's size."""
        if "word_embedding_dimension" in config:
            config["embedding_dimension"] = config.pop("word_embedding_dimension")
        return config

    def forward(self, features: Features) -> Features:
        """Pool `token_embeddings` (`VocabularyLogits`) into `sentence_embedding`, float32 [texts, vocabulary]."""
        logits: VocabularyLogits = features["token_embeddings"]
        mask = features["attention_mask"].bool()
        # Only attended tokens are multiplied out, one text behind another.
        hidden, lengths = logits.hidden[mask], mask.sum(dim=1).tolist()
        bias = 0.0 if logits.bias is None else logits.bias.float()
        least = float("-inf") if self.pooling_strategy == "max" else 0.0
        pooled = torch.full((len(mask), len(logits.weight)), least, device=hidden.device)
        for rows, pieces in _stretches(lengths, max(1, _LOGITS_AT_ONCE // len(logits.weight))):
            part = torch.nn.functional.linear(hidden[rows], logits.weight)
            for text, piece in pieces:
                if self.pooling_strategy == "max":
                    torch.maximum(pooled[text], part[piece].amax(dim=0), out=pooled[text])
                else:
                    pooled[text] += self._activate(part[piece].float() + bias).sum(dim=0)
        # The bias is the same for all tokens, so the largest logit is the largest without it.
        features["sentence_embedding"] = self._activate(pooled + bias) if self.pooling_strategy == "max" else pooled
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Give the vocabulary's size."""
        return incoming

    def _activate(self, logits: Tensor) -> Tensor:
        weights = logits.relu().log1p()
        return weights.log1p() if self.activation_function == "log1p_relu" else weights


def _stretches(lengths: Sequence[int], most: int) -> Iterator[tuple[slice, list[tuple[int, slice]]]]:
    """Cut texts that stand one behind another into stretches of `most` tokens.

    Gives for each the tokens, and which text owns which part of them.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, most):
        stop = min(start + most, total)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        cuts = (
            np.clip([ends[first : last + 1] - lengths[first : last + 1], ends[first : last + 1]], start, stop) - start
        )
        owners = zip(range(first, last + 1), *cuts.tolist(), strict=True)
        yield slice(start, stop), [(text, slice(low, high)) for text, low, high in owners if low < high]
