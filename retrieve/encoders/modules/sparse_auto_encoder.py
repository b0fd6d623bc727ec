"""Sparse autoencoder: a dense vector to a few active latents."""

import torch
from torch import Tensor

from retrieve.encoders.modules.module import Features, Module

_ACTIVE = 1e-5


class SparseAutoEncoder(Module):
    """Sparse autoencoder: relu of the `k` largest of W (x - b_pre) + b, in float32.

    `max_active_dims` among the features replaces `k`.

    Parameters
    ----------
    input_dim, hidden_dim
        Width of the vectors, and number of latents.
    k
        Maximum active latents of a text.
    k_aux, dead_threshold
        A latent is dead if it was last above 0 more than `dead_threshold` steps ago; a batch counts as two steps per
        column. In training the `k_aux` largest dead latents are decoded too, so that they can revive.
    normalize
        Scale x to mean 0 and standard deviation 1 over its dimensions first.

    References
    ----------
    Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", 2025.
    """

    saved_package = "sentence_transformers.sparse_encoder.models"
    config_keys = ("input_dim", "hidden_dim", "k", "k_aux", "normalize", "dead_threshold")

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 512,
        k: int = 8,
        k_aux: int = 512,
        normalize: bool = False,
        dead_threshold: int = 30,
    ) -> None:
        super().__init__()
        self.input_dim, self.hidden_dim, self.k = input_dim, hidden_dim, k
        self.k_aux, self.normalize, self.dead_threshold = k_aux, normalize, dead_threshold
        self.pre_bias = torch.nn.Parameter(torch.zeros(input_dim))
        self.encoder = torch.nn.Linear(input_dim, hidden_dim, bias=False)
        self.latent_bias = torch.nn.Parameter(torch.zeros(hidden_dim))
        self.decoder = _Tied(self.encoder)
        self.stats_last_nonzero: Tensor
        self.register_buffer("stats_last_nonzero", torch.zeros(hidden_dim, dtype=torch.long))

    def forward(self, features: Features) -> Features:
        """Encode `sentence_embedding` [texts, input_dim] as latents [texts, hidden_dim].

        Outside ``torch.inference_mode``, it adds what `CSRLoss` compares: the vector, and its reconstructions from the
        k largest latents, the 4k largest, and the `k_aux` largest dead ones.
        """
        vectors = features["sentence_embedding"].float()
        k = features.get("max_active_dims") or self.k
        if torch.is_inference_mode_enabled():
            latents = self._latents(self._scaled(vectors)[0])
            features["sentence_embedding"] = self._largest(latents, k)
            return features
        scaled, mean, deviation = self._scaled(vectors)
        latents = self._latents(scaled)
        largest = self._largest(latents, k)
        # As in the reference, k and 4k count as a step each, and dead latents are determined between the two.
        dead = self._largest(latents * (self.stats_last_nonzero > self.dead_threshold), self.k_aux, count_steps=False)
        largest_4k = self._largest(latents, 4 * k)
        decoded = self._decoded(largest) * deviation + mean
        features |= {
            "sentence_embedding": largest,
            "sentence_embedding_backbone": vectors,
            "decoded_embedding_k": decoded,
            "decoded_embedding_4k": self._decoded(largest_4k) * deviation + mean,
            "decoded_embedding_aux": self._decoded(dead) * deviation if self.k_aux else None,
            "decoded_embedding_k_pre_bias": decoded - self.pre_bias * deviation,
        }
        return features

    def _scaled(self, vectors: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Return the standardized vectors with their mean and standard deviation, if `normalize` is set."""
        if not self.normalize:
            return vectors, 0.0, 1.0
        mean = vectors.mean(dim=-1, keepdim=True)
        deviation = (vectors - mean).std(dim=-1, keepdim=True)
        return (vectors - mean) / (deviation + 1e-5), mean, deviation

    def _latents(self, scaled: Tensor) -> Tensor:
        return torch.nn.functional.linear(scaled - self.pre_bias, self.encoder.weight, self.latent_bias)

    def _decoded(self, latents: Tensor) -> Tensor:
        return torch.nn.functional.linear(latents, self.encoder.weight.T) + self.pre_bias

    def _largest(self, latents: Tensor, count: int, *, count_steps: bool = True) -> Tensor:
        """Return the relu of the `count` largest latents; in training, record which were above 0."""
        values, columns = latents.topk(min(count, self.hidden_dim), dim=-1)
        if count_steps and self.training and torch.is_grad_enabled():
            active = torch.zeros_like(self.stats_last_nonzero)
            active.scatter_add_(0, columns.flatten(), (values > _ACTIVE).long().flatten())
            self.stats_last_nonzero.masked_fill_(active > 0, 0).add_(1)
        return torch.zeros_like(latents).scatter_(-1, columns, values.relu())

    def dimension(self, incoming: int | None) -> int | None:
        """Return the number of latents."""
        return self.hidden_dim

    @property
    def vocabulary(self) -> list[str]:
        """Numbered name of each latent."""
        return [f"[latent{at}]" for at in range(self.hidden_dim)]


class _Tied(torch.nn.Module):
    """Decoder that shares the encoder's weights; checkpoints list them twice."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.linear = linear
