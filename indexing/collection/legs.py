"""Legs: what a collection must know of each kind of index - to make one, to open it, what to give it, what it refuses.

A leg is fed one batch after another: the documents, and their rows where the leg has an encoder. What an index would
refuse is found by `check` before anything is stored: a batch that stands in the journal can be replayed.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from scipy.sparse import csr_array, csr_matrix

from indexing.collection.leg_parameters import OF_ROWS
from indexing.collection.manifest import Leg
from indexing.collection.shards import Codec, DenseRows, SparseRows
from indexing.disk import write_atomically
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.filters import Fields
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import LARGEST_IMPACT, LARGEST_LENGTH, ImpactIndex
from indexing.indexes.lucene.index import check_id
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.settings import QdrantServer

Index: TypeAlias = Bm25Index | ImpactIndex | FaissIndex | QdrantIndex
VOCABULARY = "vocabulary.txt"
_KINDS: dict[str, type[Index]] = {
    "faiss": FaissIndex,
    "bm25": Bm25Index,
    "impact": ImpactIndex,
    "qdrant": QdrantIndex,
}


class DocumentEncoder(Protocol):
    """What a collection needs of an encoder: texts in, vectors or term weights out."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells this model from others."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Give vectors ``float32 [n, dimension]``, or term weights as CSR ``[n, vocabulary]``."""
        ...


def codec(leg: Leg) -> Codec | None:
    """Say how a leg's rows are kept; None for a leg that indexes the text itself."""
    if leg.rows == "vectors":
        return DenseRows(int(leg.parameters["dimension"]), str(leg.parameters.get("dtype", "float32")))
    return SparseRows(int(leg.parameters["columns"])) if leg.rows == "weights" else None


def create_index(leg: Leg, folder: Path, shards: Path, fields: Fields) -> Index:
    """Make an empty index for this leg; `shards` is the folder of its encoded documents.

    Of the declared `fields` only Lucene keeps values; FAISS is told what it may find (see `Collection.matching`).
    """
    options = {key: value for key, value in leg.parameters.items() if key not in OF_ROWS}
    if leg.backend == "faiss":
        return FaissIndex.create(folder, int(leg.parameters["dimension"]), **options)
    if leg.backend == "qdrant":
        server = options.pop("server", None)
        return QdrantIndex.create(
            folder,
            int(leg.parameters.get("dimension", 0)),
            vocabulary=int(leg.parameters.get("columns", 0)),
            fields=fields,
            server=QdrantServer(**server) if server else None,
            **options,
        )
    if leg.backend == "bm25":
        return Bm25Index.create(folder, fields=fields, **options)
    return ImpactIndex.create(folder, vocabulary=read_vocabulary(leg, shards), fields=fields, **options)


def open_index(leg: Leg, folder: Path, *, read_only: bool) -> Index:
    """Open the index of this leg."""
    return _KINDS[leg.backend].open(folder, read_only=read_only)


def keeps_vectors(leg: Leg) -> bool:
    """Say whether an index of this leg that has dropped what was deleted is as good as a fresh one.

    Quantised vectors would be encoded a second time from what is left of them.
    """
    return leg.backend != "faiss" or leg.parameters.get("kind", "flat") in ("flat", "hnsw")


def apply(index: Index, documents: Sequence[Document], rows: Any) -> None:
    """Give documents and their rows to an index; those that are there already are replaced."""
    if isinstance(index, Bm25Index):
        index.upsert(documents)
        return
    ids = [document.doc_id for document in documents]
    metadata = [document.metadata for document in documents]
    if isinstance(index, ImpactIndex):
        index.upsert(ids, rows, metadata)
    elif isinstance(index, QdrantIndex):
        index.upsert(ids, **{"vectors" if isinstance(rows, np.ndarray) else "weights": rows}, metadata=metadata)
    else:
        index.upsert(ids, rows)


def check(leg: Leg, name: str, documents: Sequence[Document], rows: Any) -> None:
    """Refuse what the index of this leg would refuse.

    Raises
    ------
    InputError
        Naming the leg and the document.
    """
    if leg.backend in ("bm25", "impact"):
        for document in documents:
            check_id(document.doc_id)
    if leg.rows == "vectors":
        _check_vectors(leg, name, documents, rows)
    elif leg.rows == "weights":
        _check_weights(leg, name, documents, rows)


def write_vocabulary(vocabulary: Sequence[str], shards: Path) -> dict[str, Any]:
    """Keep the vocabulary beside the encoded documents; gives the leg's parameters that describe it."""
    text = "\n".join(vocabulary).encode()
    shards.mkdir(parents=True, exist_ok=True)
    write_atomically(shards / VOCABULARY, lambda file: file.write(text))
    return {"columns": len(vocabulary), "vocabulary_sha256": hashlib.sha256(text).hexdigest()}


def read_vocabulary(leg: Leg, shards: Path) -> list[str]:
    """Read what `write_vocabulary` kept."""
    file = shards / VOCABULARY
    try:
        text = file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file} cannot be read ({error.strerror}): build the collection again") from error
    if hashlib.sha256(text).hexdigest() != leg.parameters["vocabulary_sha256"]:
        raise StorageError(f"{file} is damaged: put the vocabulary of the encoder back, or build the collection again")
    return text.decode().split("\n")


def file_sums(folder: Path, known: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Give size and CRC-32 of each file of an index; of FAISS and Lucene: Qdrant changes its files in place.

    Indexes write a file once, under a name of its own; so one that is `known` with the same size is not read again,
    unless it is a ``.json`` file, which is replaced under its name.
    """
    sums: dict[str, tuple[int, int]] = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or file.name == "write.lock":
            continue
        size = file.stat().st_size
        before = known.get(name)
        if before is not None and before[0] == size and file.suffix != ".json":
            sums[name] = (size, before[1])
        else:
            sums[name] = (size, file_sum(file))
    return sums


def file_sum(file: Path) -> int:
    """Give the CRC-32 of a file."""
    crc = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def _check_vectors(leg: Leg, name: str, documents: Sequence[Document], rows: Any) -> None:
    shape = len(documents), int(leg.parameters["dimension"])
    if not isinstance(rows, np.ndarray) or rows.shape != shape:
        raise InputError(f"leg {name!r}: vectors of shape {list(shape)} are needed, not {_shape(rows)}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(
            f"leg {name!r}: the vector of {documents[int(np.argmin(finite))].doc_id!r} holds a NaN or an infinity"
        )


def _check_weights(leg: Leg, name: str, documents: Sequence[Document], rows: Any) -> None:
    shape = len(documents), int(leg.parameters["columns"])
    if not isinstance(rows, csr_matrix | csr_array) or rows.shape != shape:
        raise InputError(f"leg {name!r}: term weights of shape {list(shape)} are needed, not {_shape(rows)}")
    impacts = np.rint(rows.data * float(leg.parameters.get("scale", 100)))
    fine = (rows.data >= 0) & (impacts <= LARGEST_IMPACT)
    lengths = np.diff(np.concatenate(([0], np.cumsum(np.where(fine, impacts, 0), dtype=np.float64)))[rows.indptr])
    fine_rows = np.diff(np.concatenate(([0], np.cumsum(~fine)))[rows.indptr]) == 0
    fine_rows &= lengths <= LARGEST_LENGTH
    if not fine_rows.all():
        doc_id = documents[int(np.argmin(fine_rows))].doc_id
        raise InputError(f"leg {name!r}: a term weight of {doc_id!r} is negative, not a number or too large")


def _shape(rows: Any) -> str:
    return str(list(rows.shape)) if hasattr(rows, "shape") else type(rows).__name__
