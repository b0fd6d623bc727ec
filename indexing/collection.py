"""Collection: everything on disk for one corpus, in one directory.

::

    my-collection/
      manifest.json      format, corpus, and for each leg its backend, encoder, count and bytes
      documents.sqlite   title, text and metadata of every document
      legs/<name>/       one index a leg

A collection is built aside and moved into place when it is complete: a build that is killed leaves what stood there
before, and the next build starts clean.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias, get_args

from indexing.bm25_index import Bm25Index
from indexing.disk import folder_bytes, sync_folder, write_json
from indexing.errors import StorageError
from indexing.faiss_index import FaissIndex
from indexing.impact_index import ImpactIndex
from indexing.store import DocumentStore

FORMAT = 1
Backend: TypeAlias = Literal["bm25", "impact", "faiss"]
Index: TypeAlias = Bm25Index | ImpactIndex | FaissIndex


@dataclass(frozen=True, slots=True)
class Leg:
    """What the manifest says of one leg.

    `encoder` is the identity of the model its documents were encoded with, `parameters` what else was chosen for it.
    """

    backend: Backend
    encoder: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise ValueError(f"unknown backend {self.backend!r}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a collection holds."""

    documents: int
    corpus: Mapping[str, Any]
    legs: Mapping[str, Leg] = field(default_factory=dict)


class Collection:
    """A collection opened for reading; its indexes are opened when first asked for."""

    def __init__(self, path: Path, manifest: Manifest, documents: DocumentStore) -> None:
        self.path, self.manifest, self.documents = path, manifest, documents
        self._open: dict[str, Index] = {}

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the collection in this directory.

        Raises
        ------
        StorageError
            When there is none, or its manifest cannot be read.
        """
        path = Path(path)
        if not path.exists() and _beside(path.absolute(), "old").is_dir():
            with _locked(path.absolute()):
                _recover(path)
        return cls(path, read_manifest(path), DocumentStore.open(path / "documents.sqlite"))

    def index(self, name: str) -> Index:
        """Give the index of this leg."""
        if name not in self._open:
            leg = self.leg(name)
            folder = self.path / "legs" / name
            if leg.backend == "faiss":
                self._open[name] = FaissIndex.open(folder)
            elif leg.backend == "bm25":
                self._open[name] = Bm25Index.open(folder, read_only=True)
            else:
                self._open[name] = ImpactIndex.open(folder, read_only=True)
        return self._open[name]

    def leg(self, name: str) -> Leg:
        """Give the manifest's entry of this leg."""
        try:
            return self.manifest.legs[name]
        except KeyError:
            raise StorageError(
                f"the collection {self.path} has no leg {name!r}: it has {', '.join(self.manifest.legs) or 'none'}"
            ) from None

    def close(self) -> None:
        """Close the store and every index that was opened."""
        for index in self._open.values():
            index.close()
        self._open.clear()
        self.documents.close()

    def __len__(self) -> int:
        return self.manifest.documents

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the collection in this directory; errors as `Collection.open`."""
    file = path / "manifest.json"
    try:
        stored = json.loads(file.read_text("utf-8"))
        if stored["format"] != FORMAT:
            raise StorageError(f"{path} has format {stored['format']}, this version reads {FORMAT}: build it again")
        legs = {_leg_name(name): Leg(**leg) for name, leg in stored["legs"].items()}
        return Manifest(documents=int(stored["documents"]), corpus=stored["corpus"], legs=legs)
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            f"{path} is not a collection (no manifest.json): build one with `retrieve index CORPUS --to {path}`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{file} is damaged ({error!r}): build the collection again") from error


@contextmanager
def building(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a directory to build a collection in; move it to `path` when the block ends without an error.

    Raises
    ------
    StorageError
        When something stands at `path` (a collection may be replaced with ``overwrite=True``; anything else never),
        when another process builds there, or when nothing can be written there.
    """
    path = Path(path).absolute()
    with _locked(path):
        _recover(path)
        _check_free(path, overwrite)
        staging, old = _beside(path, "building"), _beside(path, "old")
        for stale in (staging, old):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            (staging / "legs").mkdir(parents=True)
            yield staging
            if not (staging / "manifest.json").is_file():
                raise StorageError(f"the build of {path} wrote no manifest")
            _check_free(path, overwrite)
            if path.exists():
                path.rename(old)
            staging.rename(path)
            sync_folder(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _check_free(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / "manifest.json").is_file():
        raise StorageError(f"{path} is there and is not a collection: choose another directory")
    if not overwrite:
        raise StorageError(f"{path} already holds a collection: choose another directory, or say --overwrite")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the right to build at `path`, against other threads and processes."""
    import portalocker

    lock = _beside(path, "lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open_and_lock(lock)
    except portalocker.LockException:
        raise StorageError(f"another process is building {path}: wait for it, or stop it") from None
    except OSError as error:
        raise StorageError(f"cannot write in {path.parent} ({error.strerror}): choose another directory") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        handle.close()


def _open_and_lock(lock: Path) -> IO[str]:
    """Lock the file that stands at this name: one that its last holder unlinked meanwhile guards nothing."""
    import portalocker

    while True:
        handle = lock.open("w")
        try:
            portalocker.lock(handle, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
            if lock.exists() and lock.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                return handle
        except BaseException:
            handle.close()
            raise
        handle.close()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest, the last step of a build; fills in each leg's bytes."""
    legs = {
        name: asdict(leg) | {"bytes": folder_bytes(path / "legs" / _leg_name(name))}
        for name, leg in manifest.legs.items()
    }
    write_json(
        path / "manifest.json",
        {"format": FORMAT, "documents": manifest.documents, "corpus": dict(manifest.corpus), "legs": legs},
    )


def _recover(path: Path) -> None:
    """Put back what an overwrite had moved away when it was killed between its two renames."""
    old = _beside(path.absolute(), "old")
    if old.is_dir() and not path.exists():
        old.rename(path)


def _beside(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{role}")


def _leg_name(name: str) -> str:
    """Refuse a name that would lead out of the collection."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"a leg cannot be called {name!r}")
    return name
