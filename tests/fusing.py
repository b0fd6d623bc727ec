"""Small hits for the tests of fusion: examples by hand, and random ones with ties, gaps and equal scores."""

from collections.abc import Callable

import numpy as np

from indexing.hits import Hits

BM25 = {"a": 9.0, "b": 5.0, "c": 1.0}
DENSE = {"b": 0.9, "d": 0.5}


_KINDS: list[Callable[[np.random.Generator, int], np.ndarray]] = [
    lambda rng, size: rng.integers(-16, 17, size) / 8,
    lambda rng, size: rng.normal(0, 3, size),
    lambda rng, size: np.full(size, rng.integers(-8, 9) / 8),
    lambda rng, size: rng.random(size) * 20,
    lambda rng, size: -rng.random(size),
]


def hits(*runs: dict[str, float]) -> Hits:
    """Return `Hits` with one query for each of these ``{doc_id: score}``."""
    queries = [str(number) for number in range(len(runs))]
    return Hits.from_run(dict(zip(queries, runs, strict=True)), queries)


def run(fused: Hits) -> list[dict[str, float]]:
    """Return ``{doc_id: score}`` for each query, best first."""
    return list(fused.to_run([str(number) for number in range(len(fused))]).values())


def random_pairs(count: int = 200, *, seed: int = 0, empty: bool = True) -> tuple[Hits, Hits]:
    """Return two legs' hits for `count` queries, with ties, missing documents, single hits, equal and negative scores.

    Scores are multiples of 1/8, which floats hold exactly, or random. Equal scores are multiples of 1/8, so that their
    mean has no rounding error. With `empty`, a leg sometimes has no hits.
    """
    rng = np.random.default_rng(seed)
    legs: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for query in range(count):
        for leg in legs:
            size = int(rng.choice([1, 2, 5, 20, 40]))
            names = rng.choice(60, size=size, replace=False)
            kind = query % 5 if rng.random() < 0.7 else int(rng.integers(5))
            scores = _KINDS[kind](rng, size)
            found = {f"d{name:02}": float(score) for name, score in zip(names, scores, strict=True)}
            leg.append({} if empty and rng.random() < 0.04 else found)
    return hits(*legs[0]), hits(*legs[1])
