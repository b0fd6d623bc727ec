"""`backup` copies a collection as of one write while another process writes; `restore` checks a copy and copies it.

The legs are copied first, each as it was last committed, then the documents of one later write with their rows. What a
leg lacks is replayed from the journal of the copy, so that all of it is of one sequence number. Nothing is encoded.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexing.collection.legs import codec, open_index
from indexing.collection.manifest import Leg, Manifest, read_manifest, write_manifest
from indexing.collection.shards import Piece
from indexing.collection.staging import building
from indexing.collection.store import DocumentStore
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.disk import folder_bytes
from indexing.errors import InputError, StorageError
from indexing.indexes.registry import kind_of
from indexing.indexes.terms import VOCABULARY
from indexing.inputs import local_path
from indexing.plurals import counted

ATTEMPTS = 7
"""Number of attempts to copy files that a writer replaces meanwhile."""
_BLOCK = 1 << 20
_CONFIGURATION = "search.yaml"


@dataclass(frozen=True, slots=True)
class Copied:
    """Outcome of a backup or a restore.

    Parameters
    ----------
    path
        The copy.
    sequence
        The last write that it contains.
    documents, size_bytes
        Number of its documents, and its size.
    rebuilt
        Legs whose index was built again from the rows, because their engine changes its files in place.
    """

    path: str
    sequence: int
    documents: int
    size_bytes: int
    rebuilt: Sequence[str]

    def __str__(self) -> str:
        size = f"{self.size_bytes / 1e6:.1f} MB"
        return f"{self.path}: {counted(self.documents, 'document')} as of write {self.sequence}, {size}"


def backup(collection: str | Path, to: str | Path, *, overwrite: bool = False) -> Copied:
    """Copy a collection to a new directory, which appears when it is complete; other processes may go on writing.

    Parameters
    ----------
    collection
        The collection.
    to
        The copy's directory: a collection of its own, with nothing shared.
    overwrite
        Replace the collection that is there.

    Raises
    ------
    InputError
        For a leg on a Qdrant server.
    StorageError
        When the collection cannot be read, or `to` exists.
    """
    path = local_path(collection, "collection")
    for name, leg in read_manifest(path).legs.items():
        if elsewhere := kind_of(leg.backend).left_elsewhere(leg.parameters):
            raise InputError(
                f"the leg {name!r} of {path} is in {elsewhere}, which a copy of files does not contain: move it here "
                f"(`retrieve reindex {path} --leg {name}`), or deploy the collection and use Qdrant's snapshots"
            )
    with building(to, overwrite=overwrite) as staging:
        rebuilt = _attempt(path, staging)
        with CollectionWriter.open(staging, without=rebuilt) as copy:
            copy.documents.begin_journal()
            for name in rebuilt:
                copy.reindex(name)
            copy.commit()
            sequence, documents = copy.documents.sequence, len(copy)
    return Copied(str(to), sequence, documents, folder_bytes(Path(to)), rebuilt)


def restore(copy: str | Path, to: str | Path, *, overwrite: bool = False) -> Copied:
    """Check every byte of a backup, and copy it to a directory, as `backup` does.

    Raises
    ------
    StorageError
        When the backup is damaged, or `to` exists.
    """
    damage = [problem for problem in verify(copy) if not problem.harmless]
    if damage:
        raise StorageError(f"{copy} is damaged, and nothing was restored: {damage[0].message}")
    return backup(copy, to, overwrite=overwrite)


def _attempt(path: Path, staging: Path) -> list[str]:
    """Copy everything to an empty folder, again where a writer replaced files meanwhile; return the legs to rebuild."""
    for attempt in range(ATTEMPTS):
        for entry in staging.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            return _copy(path, staging)
        except (OSError, StorageError) as error:
            if attempt == ATTEMPTS - 1:
                raise StorageError(f"{path} cannot be copied ({error}): try again when less is written") from error
            time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


def _copy(path: Path, staging: Path) -> list[str]:
    with DocumentStore.open(path / "documents.sqlite") as store:
        manifest = read_manifest(path)
        rebuilt = [name for name, leg in manifest.legs.items() if kind_of(leg.backend).folders]
        sequences = [
            _copy_leg(path / "legs" / leg.folder, staging / "legs" / leg.folder, leg)
            for name, leg in manifest.legs.items()
            if name not in rebuilt
        ]
        (staging / "legs").mkdir(exist_ok=True)
        store.hold()
        if any(sequence < store.purged for sequence in sequences):
            raise StorageError("its deleted documents were removed meanwhile")
        store.copy_to(staging / "documents.sqlite")
        for name, leg in manifest.legs.items():
            if codec(leg) is not None:
                _copy_shards(path / "shards" / name, staging / "shards" / name, store.pieces(name))
        if (path / _CONFIGURATION).is_file():
            shutil.copyfile(path / _CONFIGURATION, staging / _CONFIGURATION)
        if store.replaced or _layout(read_manifest(path)) != _layout(manifest):
            raise StorageError("it was replaced, or its legs were changed, meanwhile")
    write_manifest(staging, manifest)
    return rebuilt


def _layout(manifest: Manifest) -> dict[str, tuple[str, str]]:
    return {name: (leg.backend, leg.folder) for name, leg in manifest.legs.items()}


def _copy_leg(folder: Path, into: Path, leg: Leg) -> int:
    """Copy the files of an index's last commit; return the last write that it contains."""
    with open_index(leg, folder, read_only=True) as index:
        names = [file.relative_to(folder) for file in index.files()]
    if (folder / VOCABULARY).is_file() and Path(VOCABULARY) not in names:
        names.append(Path(VOCABULARY))
    for name in names:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        # A link takes no time, so that a writer hardly ever removes a file meanwhile.
        try:
            os.link(folder / name, into / name)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(folder / name, into / name)
    for name in names:
        if (into / name).stat().st_nlink > 1:
            apart = (into / name).with_name(f"{name.name}.apart")
            shutil.copyfile(into / name, apart)
            apart.replace(into / name)
    with open_index(leg, into, read_only=True) as copied:
        return copied.sequence


def _copy_shards(folder: Path, into: Path, pieces: Sequence[Piece]) -> None:
    """Copy the files of shards up to the end of their last recorded piece."""
    into.mkdir(parents=True, exist_ok=True)
    ends: dict[str, int] = {}
    for piece in pieces:
        ends[piece.shard] = max(ends.get(piece.shard, 0), piece.end)
    for name, end in ends.items():
        with (folder / name).open("rb") as source, (into / name).open("wb") as target:
            while end and (block := source.read(min(_BLOCK, end))):
                target.write(block)
                end -= len(block)
            target.flush()
            os.fsync(target.fileno())
    if (folder / VOCABULARY).is_file():
        shutil.copyfile(folder / VOCABULARY, into / VOCABULARY)
