"""Scores that can be compared: a cross-encoder's, or an encoder's similarity, for every query and document at stake."""

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.errors import StorageError
from indexing.resources import Closing

PAIRS_AT_ONCE = 65536


class PairScorer(Protocol):
    """What scores (query, document) pairs: a `CrossEncoder`."""

    def predict(self, pairs: Sequence[tuple[str, str]], *, show_progress: bool = False) -> NDArray[np.float32]:
        """Give one score a pair."""


def cross_scores(
    scorer: PairScorer,
    queries: Sequence[str],
    documents: Sequence[str],
    *,
    cache: "ScoreCache | None" = None,
    show_progress: bool = False,
) -> NDArray[np.float32]:
    """Score query i with document i: in one pass, which the scorer sorts by length, and each different pair once."""
    pairs = list(zip(queries, documents, strict=True))
    known: dict[tuple[str, str], int] = {}
    codes = np.fromiter((known.setdefault(pair, len(known)) for pair in pairs), np.int64, len(pairs))
    different = list(known)
    scores = np.full(len(different), np.nan, dtype=np.float32)
    if cache is not None:
        scores = cache.get(different)
    missing = np.flatnonzero(np.isnan(scores))
    for low in range(0, len(missing), PAIRS_AT_ONCE):
        some = missing[low : low + PAIRS_AT_ONCE]
        chosen = [different[at] for at in some]
        scores[some] = scorer.predict(chosen, show_progress=show_progress)
        if cache is not None:
            cache.put(chosen, scores[some])
    return scores[codes]


class ScoreCache(Closing):
    """Scores of pairs in a file, so that an interrupted or repeated run computes each once.

    Parameters
    ----------
    path
        A SQLite file, made when it is not there.
    scorer
        What tells one scorer from another, such as an encoder's identity; its scores are kept apart.
    """

    def __init__(self, path: str | Path, scorer: str) -> None:
        self._scorer = scorer.encode()
        try:
            self._file = sqlite3.connect(path)
            self._file.execute("CREATE TABLE IF NOT EXISTS scores (pair BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{path} is no cache of scores ({error}): delete it, or name another file") from error

    def get(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Give the scores that are known, nan for the others."""
        scores = np.full(len(pairs), np.nan, dtype=np.float32)
        for at, pair in enumerate(pairs):
            row = self._file.execute("SELECT score FROM scores WHERE pair = ?", (self._key(pair),)).fetchone()
            if row is not None:
                scores[at] = row[0]
        return scores

    def put(self, pairs: Sequence[tuple[str, str]], scores: NDArray[np.float32]) -> None:
        """Keep scores."""
        rows = [(self._key(pair), float(score)) for pair, score in zip(pairs, scores, strict=True)]
        with self._file:
            self._file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _key(self, pair: tuple[str, str]) -> bytes:
        query, document = (part.encode() for part in pair)
        told = len(query).to_bytes(8, "little") + query + document
        return blake2b(told, digest_size=16, key=blake2b(self._scorer, digest_size=32).digest()).digest()
