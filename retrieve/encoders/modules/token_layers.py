"""Layers of older checkpoints between token vectors and pooling: weights of words, LSTM, CNN, weights of layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from indexing.errors import ModelError
from retrieve.encoders.modules.module import Features, Module
from retrieve.encoders.modules.word_embeddings import weights_of


class WordWeights(Module):
    """Multiplication of each token's vector by a weight of its word; the mean then divides by the weights' sum."""

    config_keys = ("vocab", "word_weights", "unknown_word_weight")
    output = "token_embeddings"

    def __init__(self, vocab: Sequence[str], word_weights: Mapping[str, float], unknown_word_weight: float = 1) -> None:
        super().__init__()
        self.vocab, self.word_weights, self.unknown_word_weight = list(vocab), dict(word_weights), unknown_word_weight
        weights = torch.tensor(weights_of(vocab, word_weights, unknown_word_weight))[:, None]
        self.emb_layer = torch.nn.Embedding.from_pretrained(weights, freeze=False)

    def forward(self, features: Features) -> Features:
        """Replace `token_embeddings`, and add the sum of the weights of each text, `token_weights_sum`."""
        weights = self.emb_layer(features["input_ids"]).squeeze(-1) * features["attention_mask"].float()
        features["token_embeddings"] = features["token_embeddings"] * weights[..., None]
        features["token_weights_sum"] = weights.sum(dim=1)
        return features


class LSTM(Module):
    """A recurrent network over the token vectors."""

    config_file = "lstm_config.json"
    config_keys = ("embedding_dimension", "hidden_dim", "num_layers", "dropout", "bidirectional")
    output = "token_embeddings"

    def __init__(
        self,
        embedding_dimension: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dimension, self.hidden_dim, self.num_layers = embedding_dimension, hidden_dim, num_layers
        self.dropout, self.bidirectional = dropout, bidirectional
        self.encoder = torch.nn.LSTM(
            embedding_dimension,
            hidden_dim,
            num_layers=num_layers,
            dropout=dropout,
            bidirectional=bidirectional,
            batch_first=True,
        )

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Rename the width of the input."""
        return renamed(config, word_embedding_dimension="embedding_dimension")

    def forward(self, features: Features) -> Features:
        """Replace `token_embeddings` by the network's states."""
        lengths = features["attention_mask"].sum(dim=1).clamp(min=1).cpu()
        rows = features["token_embeddings"].float()
        packed = torch.nn.utils.rnn.pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
        states, _ = self.encoder(packed)
        width = features["attention_mask"].shape[1]
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=width)
        features["token_embeddings"] = output
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width of the states."""
        check_width(self, self.embedding_dimension, incoming)
        return self.hidden_dim * (1 + self.bidirectional)


class CNN(Module):
    """Convolutions of several widths over the token vectors."""

    config_file = "cnn_config.json"
    config_keys = ("in_embedding_dimension", "out_channels", "kernel_sizes", "stride_sizes")
    output = "token_embeddings"

    def __init__(
        self,
        in_embedding_dimension: int,
        out_channels: int = 256,
        kernel_sizes: Sequence[int] = (1, 3, 5),
        stride_sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_embedding_dimension, self.out_channels = in_embedding_dimension, out_channels
        self.kernel_sizes, self.stride_sizes = list(kernel_sizes), list(stride_sizes or [1] * len(kernel_sizes))
        if self.stride_sizes != [1] * len(self.kernel_sizes):
            raise ModelError(
                f"the module CNN is not read with stride_sizes {self.stride_sizes}: its vectors are not those of tokens"
            )
        self.convs = torch.nn.ModuleList(
            torch.nn.Conv1d(in_embedding_dimension, out_channels, size, padding=(size - 1) // 2)
            for size in self.kernel_sizes
        )

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Rename the width of the input."""
        return renamed(config, in_word_embedding_dimension="in_embedding_dimension")

    def forward(self, features: Features) -> Features:
        """Replace `token_embeddings` by the outputs of all convolutions side by side."""
        rows = features["token_embeddings"].float().transpose(1, 2)
        features["token_embeddings"] = torch.cat([layer(rows) for layer in self.convs], dim=1).transpose(1, 2)
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the channels of all convolutions together."""
        check_width(self, self.in_embedding_dimension, incoming)
        return self.out_channels * len(self.kernel_sizes)


class WeightedLayerPooling(Module):
    """The weighted mean of a transformer's layers, of a model that returns them; other models keep their last layer."""

    config_keys = ("embedding_dimension", "layer_start", "num_hidden_layers")
    output = "token_embeddings"

    def __init__(self, embedding_dimension: int, num_hidden_layers: int = 12, layer_start: int = 4) -> None:
        super().__init__()
        self.embedding_dimension, self.layer_start = embedding_dimension, layer_start
        self.num_hidden_layers = num_hidden_layers
        self.layer_weights = torch.nn.Parameter(torch.ones(num_hidden_layers + 1 - layer_start))

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Rename the width of the input."""
        return renamed(config, word_embedding_dimension="embedding_dimension")

    def forward(self, features: Features) -> Features:
        """Replace `token_embeddings`."""
        if features.get("all_layer_embeddings") is None:
            return features
        layers = torch.stack(list(features["all_layer_embeddings"])[self.layer_start :]).float()
        weights = self.layer_weights / self.layer_weights.sum()
        features["token_embeddings"] = torch.einsum("l,lbtw->btw", weights, layers)
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width of the vectors."""
        check_width(self, self.embedding_dimension, incoming)
        return self.embedding_dimension


def check_width(module: Module, expected: int, incoming: int | None) -> None:
    """Raise ModelError if a module's input has another width than it was made for."""
    if incoming is not None and incoming != expected:
        raise ModelError(f"{type(module).__name__} reads vectors of width {expected}, and gets {incoming}")


def renamed(config: dict[str, Any], **names: str) -> dict[str, Any]:
    """Return settings under their current names."""
    return {names.get(name, name): value for name, value in config.items()}
