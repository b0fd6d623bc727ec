"""Token pooling: fewer vectors for each document, by clustering those that are alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indexing.errors import InputError, ModelError
from retrieve.encoders.modules.module import Features, Module


class HierarchicalTokenPooling(Module):
    """Replacement of the scored vectors of a text by the means of clusters of them.

    Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via
    Token Pooling", 2024: hierarchical clustering by Ward's method on cosine distances. The order is that of
    sentence-transformers: protected vectors first, then clusters by their number.

    Parameters
    ----------
    pool_factor
        Ratio of vectors before and after, at least 1.
    num_protected_tokens
        Number of leading vectors that are kept.
    normalize_embeddings
        Scale the results to unit length.
    tasks
        Tasks whose texts are pooled; a text without a task is a document.
    """

    config_keys = ("pool_factor", "num_protected_tokens", "normalize_embeddings", "tasks")
    saved_package = "sentence_transformers.multi_vector_encoder.modules.token_pooling"
    output = "token_embeddings"

    def __init__(
        self,
        pool_factor: float = 1.0,
        num_protected_tokens: int = 1,
        normalize_embeddings: bool = True,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if pool_factor < 1:
            raise ModelError(f"the pool_factor of a token pooling must be at least 1, not {pool_factor}")
        if num_protected_tokens < 0:
            raise ModelError(f"num_protected_tokens of a token pooling must not be negative: {num_protected_tokens}")
        self.pool_factor, self.num_protected_tokens = pool_factor, num_protected_tokens
        self.normalize_embeddings = normalize_embeddings
        self.tasks = ["document"] if tasks is None else list(tasks)

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Do not normalize pooled vectors if the settings were saved before that was possible."""
        if isinstance(config.get("tasks"), str):
            config = config | {"tasks": [config["tasks"]]}
        return {"normalize_embeddings": False} | config

    def forward(self, features: Features) -> Features:
        """Pool `token_embeddings` where `attention_mask` is set; both get the width of the most vectors."""
        if (features.get("task") or "document") not in self.tasks:
            return features
        vectors, mask = features["token_embeddings"].float(), features["attention_mask"].bool()
        pooled = [
            _pooled(text[kept], self.pool_factor, self.num_protected_tokens, self.normalize_embeddings)
            for text, kept in zip(vectors, mask, strict=True)
        ]
        lengths = torch.tensor([len(text) for text in pooled])
        padded: Tensor = torch.nn.utils.rnn.pad_sequence(pooled, batch_first=True)
        features["token_embeddings"] = padded.to(vectors.device)
        features["attention_mask"] = (torch.arange(padded.shape[1]) < lengths[:, None]).to(vectors.device)
        return features


def pool_tokens(
    vectors: NDArray[np.float32], factor: float, *, protected: int = 1, normalize: bool = True
) -> NDArray[np.float32]:
    """Return the vectors of one text, [tokens, dim], pooled as `HierarchicalTokenPooling` does.

    Raises
    ------
    InputError
        If `factor` is below 1 or `protected` is negative.
    """
    if factor < 1 or protected < 0:
        raise InputError(f"a pool factor must be at least 1, and protected not negative: {factor}, {protected}")
    pooled = _pooled(torch.from_numpy(np.ascontiguousarray(vectors)), factor, protected, normalize)
    return np.ascontiguousarray(pooled.numpy(), np.float32)


def _pooled(vectors: Tensor, factor: float, protected: int, normalize: bool) -> Tensor:
    rest = vectors[protected:]
    clusters = max(int(len(rest) // factor), 1)
    if clusters < len(rest):
        vectors = torch.cat([vectors[:protected], _cluster_means(rest, clusters)])
    return torch.nn.functional.normalize(vectors, dim=-1) if normalize else vectors


def _cluster_means(vectors: Tensor, clusters: int) -> Tensor:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    one = vectors.detach().cpu()  # The clusters have no gradient, their means have.
    # torch's product, because another rounding could merge other vectors than sentence-transformers does.
    distances = (1 - one @ one.T).clamp_(0, 2).numpy()
    tree = linkage(squareform(distances, checks=False), method="ward")
    _, labels = np.unique(fcluster(tree, t=clusters, criterion="maxclust"), return_inverse=True)
    places = torch.from_numpy(labels).to(vectors.device)
    counts = torch.bincount(places)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, places, vectors)
    return sums / counts[:, None]
