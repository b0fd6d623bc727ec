"""From masked-language-model logits to one weight for each term of the vocabulary."""

from typing import Any

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
    largest logit is found first and only it is activated; the logits of a few texts exist at a time.

    References
    ----------
    Formal et al., "SPLADE v2: Sparse lexical and expansion model for information retrieval", 2021.
    """

    home = "sentence_transformers.sparse_encoder.models"
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

    @property
    def saved_config(self) -> dict[str, Any]:
        """Its settings, the vocabulary's size under its older name."""
        config = self.config
        return config | {"word_embedding_dimension": config.pop("embedding_dimension")}

    def forward(self, features: Features) -> Features:
        """Pool `token_embeddings` (`VocabularyLogits`) into `sentence_embedding`, float32 [texts, vocabulary]."""
        logits: VocabularyLogits = features["token_embeddings"]
        mask = features["attention_mask"].bool()
        texts = max(1, _LOGITS_AT_ONCE // (mask.shape[1] * len(logits.weight)))
        parts = [
            self._pool(part, attended) for part, attended in zip(logits.split(texts), mask.split(texts), strict=True)
        ]
        features["sentence_embedding"] = parts[0] if len(parts) == 1 else torch.cat(parts)
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Give the vocabulary's size."""
        return incoming

    def _pool(self, logits: Tensor, attended: Tensor) -> Tensor:
        # The activation of -inf is 0: what a padding token adds to either strategy.
        if not bool(attended.all()):
            logits = logits.masked_fill_(~attended[..., None], float("-inf"))
        if self.pooling_strategy == "max":
            return self._activate(logits.amax(dim=1).float())
        return self._activate(logits.float()).sum(dim=1)

    def _activate(self, logits: Tensor) -> Tensor:
        weights = logits.relu().log1p()
        return weights.log1p() if self.activation_function == "log1p_relu" else weights
