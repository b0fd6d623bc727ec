"""Layers of older checkpoints after pooling: layer normalization and dropout."""

import torch

from retrieve.encoders.modules.module import Features, Module
from retrieve.encoders.modules.token_layers import check_width


class LayerNorm(Module):
    """Layer normalization of the vectors."""

    config_keys = ("dimension",)

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.width = dimension
        self.norm = torch.nn.LayerNorm(dimension)

    @property
    def config(self) -> dict[str, int]:
        """Settings of the module."""
        return {"dimension": self.width}

    def forward(self, features: Features) -> Features:
        """Normalize `sentence_embedding`."""
        features["sentence_embedding"] = self.norm(features["sentence_embedding"].float())
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width of the vectors."""
        check_width(self, self.width, incoming)
        return self.width


class Dropout(Module):
    """Dropout of the vectors in training; inference passes them on."""

    config_keys = ("dropout",)

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        self.dropout_layer = torch.nn.Dropout(dropout)

    def forward(self, features: Features) -> Features:
        """Drop values of `sentence_embedding`."""
        features["sentence_embedding"] = self.dropout_layer(features["sentence_embedding"])
        return features
