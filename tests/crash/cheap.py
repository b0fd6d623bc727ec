"""A corpus of any size that changes by versions, and encoders that cost nothing and always say the same."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from indexing.collection.manifest import Leg
from indexing.documents import Document
from indexing.token_vectors import TokenVectors
from pipelines.build.plan import Plan

WORDS = [f"w{number:04d}" for number in range(2000)]
DIMENSION = 32
LENGTH = 24


@lru_cache(maxsize=1)
def _directions() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)


def _words(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


class CheapVectors:
    """The mean of its words' directions."""

    identity = {"name": "cheap-vectors", "weights_sha256": "7", "dimension": DIMENSION}  # noqa: RUF012
    dimension, similarity = DIMENSION, "cosine"

    def encode_document(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([_directions()[_words(text)].mean(axis=0) for text in texts])

    encode_query = encode_document


class CheapTokens:
    """The direction of each word."""

    identity = {"name": "cheap-tokens", "weights_sha256": "7", "dimension": DIMENSION}  # noqa: RUF012

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        return TokenVectors.of([_directions()[_words(text)] for text in texts], DIMENSION)

    encode_query = encode_document


class CheapWeights:
    """A weight for each different word."""

    identity = {"name": "cheap-weights", "weights_sha256": "7"}  # noqa: RUF012
    vocabulary = WORDS

    def encode_document(self, texts: Sequence[str]) -> csr_matrix:
        counts = [np.unique(_words(text), return_counts=True) for text in texts]
        indptr = np.cumsum([0, *(len(words) for words, _ in counts)])
        weights = np.concatenate([np.log1p(times) * (1 + words % 5) for words, times in counts]).astype(np.float32)
        return csr_matrix((weights, np.concatenate([words for words, _ in counts]), indptr), (len(texts), len(WORDS)))

    encode_query = encode_document


def plan(*, edge: bool = False) -> Plan:
    """Every kind of leg: words, impacts, exact weights, exact vectors, a graph, token vectors; Qdrant Edge if asked."""
    vectors: dict[str, Any] = {"dimension": DIMENSION}
    legs = {
        "bm25": Leg("bm25"),
        "sparse": Leg("impact", CheapWeights.identity),
        "weights": Leg("postings", CheapWeights.identity),
        "dense": Leg("faiss", CheapVectors.identity, vectors | {"kind": "flat"}),
        "graph": Leg("faiss", CheapVectors.identity, vectors | {"kind": "hnsw", "ef_construction": 64}),
    }
    # All documents are scored, so that hits do not depend on the documents that centroids were learned from.
    tokens = {"dimension": DIMENSION, "bits": 0, "train_at": 1500, "centroids": 32, "candidates": 1_000_000}
    legs["tokens"] = Leg("tokens", CheapTokens.identity, tokens)
    if edge:
        legs["edge"] = Leg("qdrant", CheapVectors.identity, vectors)
    kinds = {"sparse": CheapWeights, "weights": CheapWeights, "tokens": CheapTokens}
    encoders = {name: kinds.get(name, CheapVectors)() for name in legs if name != "bm25"}
    return Plan(legs, encoders, {"sparse": WORDS, "weights": WORDS})


def documents(count: int, version: int, seed: int) -> Iterator[Document]:
    """The corpus as it stands in a version: of the one before, a fifth changed, some gone, some new."""
    for number in range(count + version * (count // 20)):
        if version and (number + 3 * version) % 20 == 0:
            continue
        changed = version if (number + version) % 5 == 0 else 0
        yield _document(number, changed, seed)


def _document(number: int, version: int, seed: int) -> Document:
    state = int.from_bytes(hashlib.blake2b(f"{seed} {number} {version}".encode(), digest_size=8).digest())
    rng = np.random.default_rng(state)
    # Squared, so that some words are common and most are rare.
    chosen = (rng.random(LENGTH) ** 2 * len(WORDS)).astype(int)
    return Document(f"d{number}", " ".join(WORDS[word] for word in chosen), metadata={"version": version})


def queries(count: int, seed: int) -> list[str]:
    """Texts of a few words."""
    rng = np.random.default_rng([seed, 99])
    return [" ".join(WORDS[word] for word in rng.integers(0, len(WORDS), size=6)) for _ in range(count)]
