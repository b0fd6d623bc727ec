"""Legs: from a leg's entry in the manifest to its index, its encoded documents and its files."""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from indexing.collection.digests import metadata_json
from indexing.collection.manifest import Leg
from indexing.collection.shards import Codec, DenseRows, SparseRows, TokenRows
from indexing.documents import Document
from indexing.errors import InputError, SetupError, StorageError
from indexing.filters import Fields, field_values
from indexing.indexes.base import NO_LOOKUPS, Index, Lookups, Making
from indexing.indexes.registry import kind_of
from indexing.indexes.terms import read_vocabulary
from indexing.permissions import check_permissions


class DocumentEncoder(Protocol):
    """An encoder as a collection uses it: texts in, vectors or term weights out."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that distinguishes this model from others."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Return vectors ``float32 [n, dimension]``, term weights as CSR ``[n, vocabulary]``, or `TokenVectors`."""
        ...


def codec(leg: Leg) -> Codec | None:
    """Return how a leg's rows are stored; None for a leg that indexes the text itself."""
    width = {"vectors": "dimension", "tokens": "dimension", "weights": "columns"}.get(leg.rows)
    if width is None:
        return None
    if width not in leg.parameters:
        raise StorageError(f"the manifest is damaged: a leg of kind {leg.backend} has no {width}")
    if leg.rows == "vectors":
        return DenseRows(int(leg.parameters[width]), str(leg.parameters.get("dtype", "float32")))
    if leg.rows == "tokens":
        return TokenRows(int(leg.parameters[width]), str(leg.parameters.get("dtype", "float16")))
    return SparseRows(int(leg.parameters[width]))


def create_index(leg: Leg, folder: Path, shards: Path, fields: Fields, lookups: Lookups = NO_LOOKUPS) -> Index:
    """Make an empty index for this leg; `shards` is the folder of its encoded documents."""
    vocabulary = partial(read_vocabulary, shards, leg.parameters.get("vocabulary_sha256", ""))
    return kind_of(leg.backend).create(folder, leg.parameters, Making(fields, vocabulary, lookups))


def open_index(leg: Leg, folder: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> Index:
    """Open the index of this leg.

    Raises
    ------
    StorageError
        When its files cannot be used, whatever the engine raises for them.
    """
    try:
        return kind_of(leg.backend).open(folder, read_only=read_only, lookups=lookups)
    except SetupError:
        raise
    except StorageError:
        check_permissions([folder, *folder.rglob("*")], write=not read_only)
        raise
    except Exception as error:
        check_permissions([folder, *folder.rglob("*")], write=not read_only)
        raise StorageError(f"the index {folder} cannot be read ({type(error).__name__}: {error})") from error


def apply(index: Index, documents: Sequence[Document], rows: Any) -> None:
    """Upsert documents with their rows into an index; text legs have no `rows`."""
    ids = [document.doc_id for document in documents]
    index.upsert(ids, documents if rows is None else rows, [document.metadata for document in documents])


def check(leg: Leg, name: str, documents: Sequence[Document], rows: Any) -> None:
    """Raise for what the index of this leg would refuse: a batch in the journal can always be replayed.

    Raises
    ------
    InputError
        Naming the leg and the document.
    """
    try:
        kind_of(leg.backend).check([document.doc_id for document in documents], rows, leg.parameters)
    except InputError as error:
        raise InputError(f"leg {name!r}: {error}") from None


def check_document(legs: Mapping[str, Leg], fields: Fields, document: Document) -> None:
    """Raise for a document that a collection of these legs and filter fields would refuse, before it is encoded.

    Raises
    ------
    InputError
        Naming the document.
    """
    for name, leg in legs.items():
        try:
            kind_of(leg.backend).check_id(document.doc_id)
        except InputError as error:
            raise InputError(f"leg {name!r}: {error}") from None
    field_values(fields, document.metadata, document.doc_id)
    metadata_json(document)


def file_sums(folder: Path, files: Sequence[Path], known: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Return size and CRC-32 of each of these files, by its path below `folder`.

    Indexes write a file once, under a name of its own, so one that is `known` with the same size is not read again.
    ``.json`` files are replaced under their name and always read.
    """
    sums: dict[str, tuple[int, int]] = {}
    for file in files:
        name, size = file.relative_to(folder).as_posix(), file.stat().st_size
        before = known.get(name)
        unchanged = before is not None and before[0] == size and file.suffix != ".json"
        sums[name] = (size, before[1] if unchanged and before else file_sum(file))
    return sums


def file_sum(file: Path) -> int:
    """Return the CRC-32 of a file."""
    crc = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
