"""The token vectors of a chunk's texts, collected batch by batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.token_vectors import TokenVectors
from retrieve.encoders.engine import Chunk, check_finite


class TokenOutput:
    """Token vectors of a chunk's texts, scaled to unit length and collected batch by batch."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self._vectors: NDArray[np.float32] | None = None

    def add(self, rows: NDArray[np.int64], features: Mapping[str, Any]) -> None:
        """Take the output of one batch of `Chunk.run`."""
        import torch

        tokens = self.chunk.tokens
        output = torch.nn.functional.normalize(features["token_embeddings"].float(), dim=-1).cpu().numpy()
        if self._vectors is None:
            self._vectors = np.empty((len(tokens.ids), output.shape[-1]), np.float32)
        mask, sources = tokens.layout(rows, output.shape[1])
        self._vectors[sources] = output[mask]

    def result(self, model: str) -> TokenVectors:
        """Return the vectors of all texts after the last batch; a `ModelError` for NaN names `model`."""
        assert self._vectors is not None  # a chunk is never empty
        check_finite(self._vectors, model)
        distinct = TokenVectors(self.chunk.tokens.offsets, self._vectors)
        return distinct if len(self.chunk) == len(self.chunk.inverse) else distinct.take(self.chunk.inverse)
