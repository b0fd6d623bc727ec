"""From a dense vector to a few active latents."""

import torch

from retrieve.encoders.modules.module import Features, Module


class SparseAutoEncoder(Module):
    """relu of the `k` largest of W (x - b_pre) + b, in float32: the encoding half of a sparse autoencoder.

    `max_active_dims` among the features takes the place of `k`. With `normalize` x is first brought to mean 0 and
    standard deviation 1 over its dimensions. `k_aux` and `dead_threshold` matter to training only.

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
        self.register_buffer("stats_last_nonzero", torch.zeros(hidden_dim, dtype=torch.long))

    def forward(self, features: Features) -> Features:
        """Turn `sentence_embedding` [texts, input_dim] into latents [texts, hidden_dim]."""
        vectors = features["sentence_embedding"].float()
        if self.normalize:
            vectors = vectors - vectors.mean(dim=-1, keepdim=True)
            vectors = vectors / (vectors.std(dim=-1, keepdim=True) + 1e-5)
        latents = torch.nn.functional.linear(vectors - self.pre_bias, self.encoder.weight, self.latent_bias)
        keep = features.get("max_active_dims") or self.k
        values, columns = latents.topk(min(keep, self.hidden_dim), dim=-1)
        features["sentence_embedding"] = torch.zeros_like(latents).scatter_(-1, columns, values.relu())
        return features

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
