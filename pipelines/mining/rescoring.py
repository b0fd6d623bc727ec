"""Cross-encoder scores of (query, document) pairs, optionally cached in a file."""

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, StorageError
from indexing.hits import Hits, string_array
from indexing.plurals import counted
from indexing.resources import Closing
from pipelines.mining.positives import numbered
from retrieve.reranking.base import RERANKER, CandidateReranker

PAIRS_AT_ONCE = 65536


class PairScorer(Protocol):
    """Protocol of scorers of (query, document) pairs, such as `CrossEncoder`."""

    def predict(self, pairs: Sequence[tuple[str, str]], *, show_progress: bool = False) -> NDArray[np.float32]:
        """Return one score per pair."""


class RerankerScorer:
    """Scorer of pairs with any reranker, by its own scores alone.

    Parameters
    ----------
    reranker
        Its weight of the first stage's score has no effect.
    """

    def __init__(self, reranker: CandidateReranker) -> None:
        self._reranker = reranker

    def predict(self, pairs: Sequence[tuple[str, str]], *, show_progress: bool = False) -> NDArray[np.float32]:
        """Return one score per pair."""
        queries, rows = numbered([query for query, _ in pairs])
        texts, codes = numbered([text for _, text in pairs])
        keys, inverse = np.unique(rows * len(texts) + codes, return_inverse=True)
        ids = [str(number) for number in range(len(texts))]
        pool = Hits.ranked(
            len(queries), keys // max(1, len(texts)), keys % max(1, len(texts)), np.zeros(len(keys)), string_array(ids)
        )
        hits = self._reranker.rerank(queries, pool, dict(zip(ids, texts, strict=True)), show_progress=show_progress)
        scores = np.empty(len(keys), dtype=np.float32)
        scores[np.searchsorted(keys, hits.rows * len(texts) + hits.codes)] = hits.legs[RERANKER].scores
        return scores[inverse]


def cross_scores(
    scorer: PairScorer,
    queries: Sequence[str],
    documents: Sequence[str],
    *,
    cache: "ScoreCache | None" = None,
    show_progress: bool = False,
) -> NDArray[np.float32]:
    """Return the scores of query i with document i; each distinct pair is scored once.

    Pairs go to the scorer in large blocks, which it can sort by length.
    """
    distinct, codes = numbered(list(zip(queries, documents, strict=True)))
    scores = np.full(len(distinct), np.nan, dtype=np.float32) if cache is None else cache.get(distinct)
    missing = np.flatnonzero(np.isnan(scores))
    for low in range(0, len(missing), PAIRS_AT_ONCE):
        block = missing[low : low + PAIRS_AT_ONCE]
        pairs = [distinct[number] for number in block]
        found = np.asarray(scorer.predict(pairs, show_progress=show_progress))
        if found.shape != (len(pairs),):
            shape = f"{counted(len(pairs), 'pair')} have scores of the shape {found.shape}"
            raise InputError(f"a scorer must give one score per pair, and {shape}: name a model with one label")
        if np.isnan(found).any():
            query, document = pairs[int(np.flatnonzero(np.isnan(found))[0])]
            raise InputError(f"the scorer's score of {document[:40]!r} for the query {query[:40]!r} is NaN")
        scores[block] = found
        if cache is not None:
            cache.put(pairs, scores[block])
    return scores[codes]


class ScoreCache(Closing):
    """Cache of pair scores in a file, so that an interrupted or repeated run computes each score once.

    Parameters
    ----------
    path
        A SQLite file, created if it does not exist.
    scorer
        Identifies the scorer, whose scores are stored separately from those of others.
    """

    def __init__(self, path: str | Path, scorer: str) -> None:
        self._scorer = scorer.encode()
        try:
            self._file = sqlite3.connect(path)
            self._file.execute("CREATE TABLE IF NOT EXISTS scores (pair BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{path} is not a cache of scores ({error}): delete it or choose another") from error

    def get(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return the cached scores, nan for the other pairs."""
        scores = np.full(len(pairs), np.nan, dtype=np.float32)
        for number, pair in enumerate(pairs):
            row = self._file.execute("SELECT score FROM scores WHERE pair = ?", (self._key(pair),)).fetchone()
            if row is not None:
                scores[number] = row[0]
        return scores

    def put(self, pairs: Sequence[tuple[str, str]], scores: NDArray[np.float32]) -> None:
        """Store scores."""
        rows = [(self._key(pair), float(score)) for pair, score in zip(pairs, scores, strict=True)]
        with self._file:
            self._file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _key(self, pair: tuple[str, str]) -> bytes:
        query, document = (part.encode() for part in pair)
        identity = len(query).to_bytes(8, "little") + query + document
        return blake2b(identity, digest_size=16, key=blake2b(self._scorer, digest_size=32).digest()).digest()
