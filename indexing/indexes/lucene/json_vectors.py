"""Anserini's JsonVectorCollection: learned term weights as JSON lines of id, contents and vector (term to impact).

pyserini writes this format, Anserini indexes it with ``-impact -pretokenized``, and other sparse engines read it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.json_text import parse_json
from indexing.plurals import counted

DOCUMENTS_A_FILE = 50_000
SUFFIXES = (".jsonl", ".json")

Batch = tuple[list[str], csr_matrix]
"""doc_ids and their weights, CSR float32 [documents, vocabulary]."""


def read_vocabulary(path: str | Path) -> list[str]:
    """Read the terms that occur in a collection, sorted by code point.

    Parameters
    ----------
    path
        A folder of ``.jsonl`` (or ``.json``) files, or one file.
    """
    terms: set[str] = set()
    for _, _, vector in _documents(Path(path)):
        terms.update(vector)
    return sorted(terms)


def read_json_vectors(
    path: str | Path, vocabulary: Sequence[str], *, scale: float = 100, batch_size: int = 1000
) -> Iterator[Batch]:
    """Read a collection in batches for an `ImpactIndex` with this vocabulary and scale, which stores the same impacts.

    Parameters
    ----------
    path
        A folder of ``.jsonl`` (or ``.json``) files, or one file.
    vocabulary
        The term of each column.
    scale
        Weights are the stored impacts divided by it.
    batch_size
        Number of documents in a batch.

    Raises
    ------
    InputError
        Naming file and line: for invalid JSON, a missing id, a weight that is not a number, or a term that is not in
        the vocabulary.
    """
    columns = {term: column for column, term in enumerate(vocabulary)}
    ids: list[str] = []
    indices: list[int] = []
    values: list[float] = []
    bounds = [0]

    def batch() -> Batch:
        data = np.array(values, np.float64) / scale
        matrix = csr_matrix(
            (data.astype(np.float32), np.array(indices, np.int64), np.array(bounds, np.int64)),
            shape=(len(ids), len(columns)),
        )
        matrix.sort_indices()
        return ids, matrix

    for where, doc_id, vector in _documents(Path(path)):
        try:
            indices.extend([columns[term] for term in vector])
        except KeyError as error:
            raise InputError(f"{where}: the term {error.args[0]!r} is not in the vocabulary") from None
        ids.append(doc_id)
        values.extend(vector.values())
        bounds.append(len(values))
        if len(ids) == batch_size:
            yield batch()
            ids, indices, values, bounds = [], [], [], [0]
    if ids:
        yield batch()


def write_json_vectors(
    folder: str | Path,
    batches: Iterable[tuple[Sequence[str], csr_matrix]],
    vocabulary: Sequence[str],
    *,
    scale: float = 100,
    documents_a_file: int = DOCUMENTS_A_FILE,
) -> int:
    """Write documents as a collection and return their number.

    Parameters
    ----------
    folder
        Folder for ``part-00000.jsonl`` and so on; it must be empty or missing.
    batches
        doc_ids and weights [documents, vocabulary].
    vocabulary
        The term of each column.
    scale
        Impacts are ``rint(weight * scale)``, as in `ImpactIndex`; those of 0 are left out.
    documents_a_file
        Number of documents per file; Anserini reads each file with one thread.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder: choose another")
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    count, part = 0, 0

    def flush() -> None:
        text = "".join(lines).encode()
        write_atomically(folder / f"part-{part:05}.jsonl", lambda file: file.write(text))

    for ids, weights in batches:
        if weights.shape != (len(ids), len(vocabulary)):
            raise InputError(
                f"weights of shape {list(weights.shape)}, but {counted(len(ids), 'id')} and "
                f"{counted(len(vocabulary), 'term')}"
            )
        matrix = csr_matrix(weights)
        impacts = np.rint(matrix.data * scale).astype(np.int64).tolist()
        columns, bounds = matrix.indices.tolist(), matrix.indptr.tolist()
        for row, doc_id in enumerate(ids):
            span = slice(bounds[row], bounds[row + 1])
            pairs = zip(columns[span], impacts[span], strict=True)
            vector = {vocabulary[column]: impact for column, impact in pairs if impact}
            line = {"id": doc_id, "contents": "", "vector": vector}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
            if len(lines) == documents_a_file:
                flush()
                lines, part = [], part + 1
        count += len(ids)
    if lines:
        flush()
    return count


def _documents(path: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield each document's place (file and line), id and vector."""
    files = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.suffix in SUFFIXES)
    if not files:
        raise InputError(f"{path} contains no {' or '.join(SUFFIXES)} file")
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{file}, line {number}"
                    yield where, *_parse(line, where)


def _parse(line: str, where: str) -> tuple[str, dict[str, float]]:
    try:
        document: Any = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("id"), str | int):
        raise InputError(f"{where}: the id is missing")
    vector = document.get("vector")
    if not isinstance(vector, dict):
        raise InputError(f"{where}: the vector, an object of terms and impacts, is missing")
    for term, impact in vector.items():
        if isinstance(impact, bool) or not isinstance(impact, int | float):
            raise InputError(f"{where}: the impact of the term {term!r} is {impact!r}, not a number")
    return str(document["id"]), vector
