"""From a dense vector to a few active latents."""

import torch
from torch import Tensor

from retrieve.encoders.modules.module import Features, Module

_ACTIVE = 1e-5


class SparseAutoEncoder(Module):
    """relu of the `k` largest of W (x - b_pre) + b, in float32: a sparse autoencoder.

    `max_active_dims` among the features takes the place of `k`. With `normalize` x is first brought to mean 0 and
    standard deviation 1 over its dimensions.

    Parameters
    ----------
    input_dim, hidden_dim
        Width of the vectors, and how many latents there are.
    k
        How many of them a text has at most.
    k_aux, dead_threshold
        While training, the `k_aux` largest of the latents that were last above 0 more than `dead_threshold` steps ago
        are decoded too, so that they may come back to life. A batch counts as two steps a column.

    References
    ----------
    Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", 2025.
    """

    home = "sentence_transformers.sparse_encoder.models"
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
        """Turn `sentence_embedding` [texts, input_dim] into latents [texts, hidden_dim].

        Outside of ``torch.inference_mode``, as when training, what `CSRLoss` compares is added: the vector itself, and
        what is decoded of the k largest latents, of the 4k largest, and of the `k_aux` largest dead ones.
        """
        vectors = features["sentence_embedding"].float()
        keep = features.get("max_active_dims") or self.k
        if torch.is_inference_mode_enabled():
            latents = self._latents(self._scaled(vectors)[0])
            features["sentence_embedding"] = self._largest(latents, keep)
            return features
        scaled, mean, deviation = self._scaled(vectors)
        latents = self._latents(scaled)
        few = self._largest(latents, keep)
        # Which latents are dead is asked between the two, and each counts as a step: the reference's order.
        dead = self._largest(latents * (self.stats_last_nonzero > self.dead_threshold), self.k_aux, count_steps=False)
        more = self._largest(latents, 4 * keep)
        decoded = self._decoded(few) * deviation + mean
        features |= {
            "sentence_embedding": few,
            "sentence_embedding_backbone": vectors,
            "decoded_embedding_k": decoded,
            "decoded_embedding_4k": self._decoded(more) * deviation + mean,
            "decoded_embedding_aux": self._decoded(dead) * deviation if self.k_aux else None,
            "decoded_embedding_k_pre_bias": decoded - self.pre_bias * deviation,
        }
        return features

    def _scaled(self, vectors: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Give what is encoded, and the mean and deviation that were taken out."""
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
        """Keep the relu of the `count` largest; while training, note which latents were above 0."""
        values, columns = latents.topk(min(count, self.hidden_dim), dim=-1)
        if count_steps and self.training and torch.is_grad_enabled():
            active = torch.zeros_like(self.stats_last_nonzero)
            active.scatter_add_(0, columns.flatten(), (values > _ACTIVE).long().flatten())
            self.stats_last_nonzero.masked_fill_(active > 0, 0).add_(1)
        return torch.zeros_like(latents).scatter_(-1, columns, values.relu())

    def dimension(self, incoming: int | None) -> int | None:
        """Give the number of latents."""
        return self.hidden_dim

    @property
    def vocabulary(self) -> list[str]:
        """Latents have no words: they are numbered."""
        return [f"[latent{at}]" for at in range(self.hidden_dim)]


class _Tied(torch.nn.Module):
    """The decoder, whose weights are the encoder's: it stands here because checkpoints list them twice."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.linear = linear
