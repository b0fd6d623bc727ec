"""Fingerprints of remote models: short sketches of what they return for fixed texts.

A name proves nothing: a server can exchange the model behind it. The vectors of eight texts distinguish models, and a
random projection of each to 32 numbers keeps angles well enough to tell a model that changed from one that computes on
other hardware or in other batches (Johnson and Lindenstrauss 1984). Of a reranker the scores of fixed pairs are kept.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "How do vaccines train the immune system?",
    "SELECT name FROM users WHERE id = 42;",
    "Die Brücke über den Fluss wurde im Jahr 1889 gebaut.",
    "東京は日本の首都です。",
    "Interest rates rose by a quarter of a percent.",
    "def factorial(n): return 1 if n < 2 else n * factorial(n - 1)",
    "invoice 2024-0815, error code E1042",
)
"""The texts, encoded as documents."""
PAIRS = tuple((query, text) for query in (PROBES[1], "How large is a factorial?") for text in PROBES[:7])
"""Pairs of a query and a text, for rerankers."""
WIDTH = 32


def sketch(vectors: NDArray[np.float32]) -> list[list[float]]:
    """Return a sketch of each vector: 32 numbers of four digits."""
    signs = np.stack([_signs(row, vectors.shape[1]) for row in range(WIDTH)])
    projected = vectors.astype(np.float64) @ signs.T
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    return [[round(float(value), 4) for value in row] for row in projected / np.where(lengths == 0, 1, lengths)]


def sketch_of_scores(scores: NDArray[np.floating]) -> list[float]:
    """Return the scores of `PAIRS` without their mean, at length 1; their cosine is the correlation of the scores."""
    centred = scores.astype(np.float64) - scores.mean()
    length = np.linalg.norm(centred)
    return [round(float(value), 4) for value in centred / (length or 1.0)]


def _signs(row: int, dimension: int) -> NDArray[np.float64]:
    data = hashlib.shake_256(f"retrieve probe {row}".encode()).digest((dimension + 7) // 8)
    return np.unpackbits(np.frombuffer(data, np.uint8))[:dimension].astype(np.float64) * 2 - 1
