"""Verify and repair a collection: check everything that it records about itself, and rebuild what is damaged."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexing.collection.identity import check_identity
from indexing.collection.legs import DocumentEncoder, codec, file_sum, open_index
from indexing.collection.manifest import Leg, Manifest, read_manifest
from indexing.collection.ownership import foreign, leftover_legs
from indexing.collection.shards import PIECE_ROWS, Shards
from indexing.collection.staging import write_lock
from indexing.collection.store import DocumentStore
from indexing.collection.writer import CollectionWriter
from indexing.errors import RetrieveError, StorageError
from indexing.indexes.registry import kind_of
from indexing.indexes.terms import read_vocabulary, write_vocabulary
from indexing.inputs import local_path
from indexing.plurals import counted

logger = logging.getLogger(__name__)

What = Literal["store", "document", "piece", "vocabulary", "leg", "behind", "leftover", "foreign", "drift"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect of a collection.

    Parameters
    ----------
    what
        ``store``: the SQLite file; ``document``: a text that differs from what was written; ``piece``: encoded
        documents; ``vocabulary``: the terms of their columns; ``leg``: an index; ``behind``: an index without the last
        writes; ``leftover``: bytes that a crash left; ``foreign``: a file that is not the collection's; ``drift``:
        statistics of an index that are those of earlier documents.
    message
        What, where, and what to do.
    leg
        The affected leg, if any.
    ids
        The affected documents, if any.
    """

    what: What
    message: str
    leg: str = ""
    ids: tuple[str, ...] = ()

    @property
    def harmless(self) -> bool:
        """True if searches remain correct: the next writer, or `compact` for ``drift``, repairs it."""
        return self.what in ("leftover", "behind", "foreign", "drift")


def verify(path: str | Path) -> list[Problem]:
    """Read everything in a collection and return its defects; an empty list when there are none.

    Nothing is written, so that a collection on a read-only file system can be verified too.

    Raises
    ------
    StorageError
        When there is no collection, its manifest or its store cannot be opened at all, or another process writes
        to it.
    """
    path = local_path(path, "path")
    read_manifest(path)
    with write_lock(path, needed=False), DocumentStore.open(path / "documents.sqlite") as store:
        manifest = read_manifest(path)
        if damage := store.integrity_errors():
            way = f"build it again: retrieve index CORPUS --to {path} --overwrite"
            return [Problem("store", f"{line}; {way}") for line in damage]
        try:
            found = _check_documents(path, store)
        except StorageError as error:
            return [Problem("store", f"{error}; build it again: retrieve index CORPUS --to {path} --overwrite")]
        for name, leg in manifest.legs.items():
            try:
                found.extend(_check_shards(path, name, leg, store))
            except StorageError as error:
                found.append(Problem("piece", f"{error}; {_encoding(path)}", leg=name))
            found.extend(_check_leg(path, name, leg, store))
        for folder in leftover_legs(path, {leg.folder for leg in manifest.legs.values()}):
            found.append(Problem("leftover", f"{folder} is left from a killed job; the next writer removes it"))
        for entry in foreign(path):
            found.append(Problem("foreign", f"{entry} does not belong to the collection; it is left alone"))
        if manifest.documents != len(store) and not any(problem.what == "behind" for problem in found):
            found.append(
                Problem(
                    "behind",
                    f"{path}/manifest.json says {counted(manifest.documents, 'document')}, there are {len(store):,}",
                )
            )
    return found


def repair(path: str | Path, encoders: Mapping[str, DocumentEncoder] | None = None) -> list[Problem]:
    """Repair a collection, verify it again and return the remaining defects.

    Damaged encoded documents are encoded again, damaged indexes are rebuilt from the shards, and leftovers are removed.
    A damaged store cannot be repaired: only the corpus has the texts.

    Parameters
    ----------
    path
        The collection.
    encoders
        The encoder of each leg whose encoded documents are damaged.

    Raises
    ------
    StorageError
        As `verify`; and for a missing encoder, naming it.
    ModelError
        When an encoder is not the leg's.
    """
    path = local_path(path, "path")
    found = verify(path)
    if any(problem.what == "store" for problem in found):
        return found
    with write_lock(path), DocumentStore.open(path / "documents.sqlite", read_only=False) as store:
        manifest = read_manifest(path)
        store.recount()
        for problem in found:
            if problem.what == "document":
                store.clear_digests(problem.ids)
        for name in sorted({problem.leg for problem in found if problem.what == "vocabulary"}):
            leg = manifest.legs[name]
            with open_index(leg, path / "legs" / leg.folder, read_only=True) as index:
                if index.vocabulary is not None:
                    write_vocabulary(path / "shards" / name, index.vocabulary)
        for name in sorted({problem.leg for problem in found if problem.what == "piece"}):
            _encode_again(path, name, manifest, store, (encoders or {}).get(name))
    broken = {problem.leg for problem in found if problem.what in ("leg", "piece")}
    with CollectionWriter.open(path, without=broken) as collection:
        for name in broken:
            logger.info("%s: rebuilding the leg %s", path, name)
            collection.reindex(name)
    return verify(path)


def _check_documents(path: Path, store: DocumentStore) -> list[Problem]:
    found = []
    count = len(store.numbers())
    if count != len(store):
        found.append(
            Problem(
                "behind",
                f"{store.path} counts {counted(len(store), 'document')} and holds {count:,}; --repair counts anew",
            )
        )
    spoiled = store.corrupt_ids()
    if spoiled:
        some = ", ".join(map(repr, spoiled[:5])) + (" …" if len(spoiled) > 5 else "")
        found.append(
            Problem(
                "document",
                f"{counted(len(spoiled), 'document')} of {store.path} not as written ({some}): "
                f"`retrieve index CORPUS --to {path} --update` writes them again",
                ids=tuple(spoiled),
            )
        )
    return found


def _check_shards(path: Path, name: str, leg: Leg, store: DocumentStore) -> list[Problem]:
    rows = codec(leg)
    if rows is None:
        return []
    found = []
    shards = Shards(path / "shards" / name, rows, store.pieces(name))
    covered = np.concatenate([piece.numbers for piece in shards.pieces] or [np.zeros(0, np.int64)])
    lacking = np.setdiff1d(store.numbers(), covered)
    if len(lacking):
        found.append(
            Problem(
                "piece",
                f"{counted(len(lacking), 'document')} without a row in {shards.folder}: {_encoding(path)}",
                leg=name,
            )
        )
    for piece in shards.pieces:
        try:
            shards.load(piece)
        except Exception as error:  # what is damaged may raise anything; the other pieces are read, too
            found.append(Problem("piece", str(error) or repr(error), leg=name))
    for file, length in shards.leftovers().items():
        extra = file.stat().st_size - length
        found.append(
            Problem("leftover", f"{file} has {counted(extra, 'byte')} of a killed write; the next writer removes them")
        )
    if "vocabulary_sha256" in leg.parameters:
        try:
            read_vocabulary(shards.folder, leg.parameters["vocabulary_sha256"])
        except StorageError as error:
            found.append(Problem("vocabulary", f"{error}; --repair takes it from an index that has it", leg=name))
    return found


def _check_leg(path: Path, name: str, leg: Leg, store: DocumentStore) -> list[Problem]:
    folder = path / "legs" / leg.folder
    again = f"`retrieve verify {path} --repair` rebuilds it without a model"
    try:
        index = open_index(leg, folder, read_only=True)
    except RetrieveError as error:
        return [Problem("leg", f"{error}; {again}", leg=name)]
    try:
        sequence, count = index.sequence, len(index)
        present = {file.relative_to(folder).as_posix() for file in index.files()}
    except Exception as error:
        return [Problem("leg", f"{folder} cannot be read ({type(error).__name__}: {error}): {again}", leg=name)]
    finally:
        index.close()
    found = _check_files(leg, folder, again, name, exact=sequence == leg.sequence)
    if sequence == leg.sequence and not found:
        found = _check_names(leg, folder, again, name, present)
    if not store.purged <= sequence <= store.sequence:
        found.append(Problem("leg", f"{folder} holds writes up to {sequence} of {store.sequence}: {again}", leg=name))
    elif sequence < store.sequence:
        found.append(
            Problem(
                "behind",
                f"{folder} holds the writes up to {sequence} of {store.sequence}: the next writer, "
                f"or `retrieve verify {path} --repair`, brings it forward",
                leg=name,
            )
        )
    elif count != len(store):
        found.append(
            Problem("leg", f"{folder} holds {counted(count, 'document')}, the store {len(store):,}: {again}", leg=name)
        )
    for note in kind_of(leg.backend).notes(folder):
        found.append(Problem("drift", f"{folder}: {note}; `retrieve compact {path}` restores the scores", leg=name))
    return found


def _check_files(leg: Leg, folder: Path, again: str, name: str, *, exact: bool) -> list[Problem]:
    """Compare the files of an index with the checksums of its last commit."""
    found = []
    for file, (size, crc) in leg.files.items():
        where = folder / file
        # Opening the index found a missing file that it needs.
        if not where.is_file():
            continue
        if (exact or where.suffix != ".json") and (where.stat().st_size != size or file_sum(where) != crc):
            found.append(Problem("leg", f"{where} differs from what was written: {again}", leg=name))
    return found


def _check_names(leg: Leg, folder: Path, again: str, name: str, present: set[str]) -> list[Problem]:
    """Compare the names of an index's files with those of its last commit."""
    missing = sorted(set(leg.files) - present)
    if not missing:
        return []
    where = f"{folder / missing[0]} is named by the manifest and missing"
    if present <= set(leg.files):
        return [Problem("leg", f"{where}: {again}", leg=name)]
    # A job that was killed after it replaced an index's files leaves others in their place.
    return [Problem("behind", f"{where}, other files replace it; the next writer records these", leg=name)]


def _encode_again(
    path: Path, name: str, manifest: Manifest, store: DocumentStore, encoder: DocumentEncoder | None
) -> None:
    """Rewrite the shards of a leg; encode damaged pieces and missing rows again."""
    leg = manifest.legs[name]
    rows = codec(leg)
    assert rows is not None
    if encoder is None:
        model = dict(leg.encoder or {}).get("name")
        raise StorageError(
            f"encoded documents of the leg {name!r} are damaged: encoding them again needs its encoder {model!r}"
        )
    check_identity(leg.encoder or {}, encoder.identity, name)
    shards = Shards(path / "shards" / name, rows, store.pieces(name))
    alive = store.numbers()
    sound = [piece for piece in shards.pieces if shards.is_intact(piece)]
    covered = np.concatenate([piece.numbers for piece in sound] or [np.zeros(0, np.int64)])
    lacking = np.setdiff1d(alive, covered)
    logger.info("%s: encoding %s again for the leg %s", path, counted(len(lacking), "document"), name)
    shards = Shards(path / "shards" / name, rows, sound)
    for numbers in _between(lacking, np.array([piece.numbers[0] for piece in sound], np.int64)):
        texts = [document.contents for document in store.by_number(numbers)]
        shards.accept(shards.append(numbers, encoder.encode_document(texts)))
    store.replace_pieces({name: shards.pieces})
    shards.replace(store.pieces(name))


def _between(numbers: NDArray[np.int64], firsts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut numbers into new pieces, none of which spans an existing one."""
    places = np.searchsorted(firsts, numbers)
    for gap in np.split(numbers, np.flatnonzero(np.diff(places)) + 1):
        for start in range(0, len(gap), PIECE_ROWS):
            yield gap[start : start + PIECE_ROWS]


def _encoding(path: Path) -> str:
    return f"`retrieve verify {path} --repair` encodes them again"
