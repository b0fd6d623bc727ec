"""SPLADE pooling: masked-language-model logits to one weight per vocabulary term."""

from typing import Any

import torch
from torch import Tensor

from indexing.errors import ModelError
from retrieve.encoders.kernels.largest_logits import largest_logits, logit_blocks
from retrieve.encoders.modules.module import Features, Module
from retrieve.encoders.modules.vocabulary_logits import VocabularyLogits


class SpladePooling(Module):
    """Term weights log(1 + relu(logit)), with the maximum ("max", SPLADE++) or sum ("sum", SPLADE) over the tokens.

    "log1p_relu" applies log(1 + ·) once more (OpenSearch's sparse encoders). The activation is monotonic, so for "max"
    only the largest logit is activated. Logits are computed for a block of terms at a time.

    References
    ----------
    Formal et al., "SPLADE v2: Sparse lexical and expansion model for information retrieval", 2021.
    """

    saved_package = "sentence_transformers.sparse_encoder.models"
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
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Translate the older name of the vocabulary size."""
        if "word_embedding_dimension" in config:
            config["embedding_dimension"] = config.pop("word_embedding_dimension")
        return config

    @property
    def saved_config(self) -> dict[str, Any]:
        """Settings with the vocabulary size under its older name."""
        config = self.config
        return config | {"word_embedding_dimension": config.pop("embedding_dimension")}

    def forward(self, features: Features) -> Features:
        """Pool `token_embeddings` (`VocabularyLogits`) into `sentence_embedding`, float32 [texts, vocabulary]."""
        logits: VocabularyLogits = features["token_embeddings"]
        mask = features["attention_mask"].bool()
        # Compute the logits of attended tokens only.
        hidden, lengths = logits.hidden[mask], mask.sum(dim=1).tolist()
        bias = torch.zeros(len(logits.weight), device=hidden.device) if logits.bias is None else logits.bias.float()
        if self.pooling_strategy == "max":
            # The bias is equal for all tokens and can be added after taking the maximum.
            pooled = self._activate(largest_logits(hidden, logits.weight, lengths) + bias)
            features["sentence_embedding"] = pooled if all(lengths) else pooled * mask.any(dim=1, keepdim=True)
            return features
        pooled = torch.zeros((len(mask), len(logits.weight)), device=hidden.device)
        for texts, block, values in logit_blocks(hidden, logits.weight, lengths):
            pooled[texts, block] = self._activate(values.float() + bias[block]).sum(dim=1)
        features["sentence_embedding"] = pooled
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the vocabulary size."""
        return incoming

    def _activate(self, logits: Tensor) -> Tensor:
        weights = logits.relu().log1p()
        return weights.log1p() if self.activation_function == "log1p_relu" else weights
