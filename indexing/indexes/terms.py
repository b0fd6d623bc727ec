"""Terms of the columns of term weights: their file, and what each adds to a score where no engine explains it."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.disk import write_atomically
from indexing.errors import StorageError
from indexing.hits import Hits
from indexing.indexes.base import Index, Terms

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

VOCABULARY = "vocabulary.txt"


def write_vocabulary(folder: Path, vocabulary: Sequence[str]) -> str:
    """Write the term of each column to ``vocabulary.txt``, one a line; return its SHA-256."""
    text = "\n".join(vocabulary).encode()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / VOCABULARY, lambda file: file.write(text))
    return hashlib.sha256(text).hexdigest()


def read_vocabulary(folder: Path, checksum: str) -> list[str]:
    """Read the terms that `write_vocabulary` wrote.

    Raises
    ------
    StorageError
        If the file cannot be read, or its SHA-256 is another.
    """
    file = folder / VOCABULARY
    try:
        text = file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file} cannot be read ({error.strerror}): put it back, or build again") from error
    if hashlib.sha256(text).hexdigest() != checksum:
        raise StorageError(f"{file} is not the vocabulary this index was made with: put it back, or build again")
    return text.decode().split("\n")


def terms_by_score(index: Index, queries: "csr_matrix", hits: Hits, vocabulary: Sequence[str]) -> list[Terms]:
    """Return what each term adds to each hit's score, by scoring the hits with one term at a time."""
    from scipy.sparse import csr_matrix

    columns, bounds = queries.indices.tolist(), queries.indptr.tolist()
    single = csr_matrix(
        (queries.data, queries.indices, range(len(columns) + 1)), shape=(len(columns), queries.shape[1])
    )
    wanted = [ids for row, ids in enumerate(r.doc_ids for r in hits) for _ in range(bounds[row], bounds[row + 1])]
    scores = iter(index.score(single, wanted).tolist())
    terms: list[Terms] = []
    for row, ranking in enumerate(hits):
        summands: list[list[tuple[str, float]]] = [[] for _ in range(len(ranking))]
        for column in columns[bounds[row] : bounds[row + 1]]:
            for of_hit in summands:
                if (score := next(scores)) > 0:
                    of_hit.append((vocabulary[column], score))
        terms += map(largest_first, summands)
    return terms


def largest_first(summands: Iterable[tuple[str, float]]) -> Terms:
    """Return what terms add to a hit's score, the largest first, then by term."""
    return tuple(sorted(summands, key=lambda term: (-term[1], term[0])))
