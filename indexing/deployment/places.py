"""Places of deployed collections: a folder with an embedded engine, or a server; built beside, then switched to."""

import json
import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from indexing.collection.ownership import check_outside
from indexing.collection.staging import hidden_sibling, write_lock
from indexing.deployment.layout import Layout
from indexing.disk import sync, write_json
from indexing.errors import InputError, StorageError
from indexing.indexes.qdrant.back_off import BackOff
from indexing.indexes.qdrant.client import ClientEngine
from indexing.indexes.qdrant.edge import EdgeEngine
from indexing.indexes.qdrant.engine import QdrantEngine
from indexing.indexes.qdrant.settings import QdrantServer
from indexing.inputs import local_path
from indexing.json_text import parse_json

Result = TypeVar("Result")

DEPLOYMENT = "deployment.json"
"""File with the layout, in the folder of an embedded engine."""
_OWNED = (DEPLOYMENT, f".{DEPLOYMENT}.partial", "shard", "local")
"""Names of the files and folders that a deployment writes into its folder."""
_METADATA = "retrieve"
"""Key of the layout in the metadata of a server's collection."""


class Place(ABC):
    """A place that holds one deployed collection, and perhaps another that is being built beside it."""

    where: str

    @abstractmethod
    def published(self) -> Layout | None:
        """Return the layout that searches see; None without any."""

    @abstractmethod
    def open(self) -> QdrantEngine:
        """Open what is published."""

    @abstractmethod
    def stage(self, layout: Layout) -> tuple[QdrantEngine, Layout]:
        """Open what was begun of this layout, or begin it; what was begun of another is removed."""

    @abstractmethod
    def save(self, layout: Layout, *, staged: bool) -> None:
        """Record the progress, durably."""

    @abstractmethod
    def publish(self) -> None:
        """Let searches see what is staged, at once, and remove what they saw before; the engine must be closed."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other deployments to this place away, where that is possible."""
        yield


class FolderPlace(Place):
    """A folder with an embedded engine: ``edge``, or qdrant-client's ``local`` mode."""

    def __init__(self, path: str | Path, engine: str = "edge") -> None:
        if engine not in ("edge", "local"):
            raise InputError(f"engine must be 'edge' or 'local', not {engine!r}")
        self.path, self.engine, self.where = local_path(path, "path").resolve(), engine, str(path)
        self._staging = hidden_sibling(self.path, "building")

    @classmethod
    def existing(cls, path: str | Path) -> "FolderPlace":
        """Return the place of a deployed collection that exists.

        Raises
        ------
        StorageError
            When there is none.
        """
        place = cls(path)
        place._recover()
        if not (place.path / DEPLOYMENT).is_file():
            raise StorageError(f"{path} is no deployed collection (no {DEPLOYMENT}): `retrieve deploy DIR --to {path}`")
        return cls(path, "local" if (place.path / "local").is_dir() else "edge")

    def published(self) -> Layout | None:
        """Read the layout."""
        return _read(self.path)

    def open(self) -> QdrantEngine:
        """Open the engine."""
        layout = self.published()
        assert layout is not None
        return self._open(self.path, layout)

    def stage(self, layout: Layout) -> tuple[QdrantEngine, Layout]:
        """Open or create the folder beside."""
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / DEPLOYMENT).is_file():
            raise StorageError(f"{self.path} exists and is no deployed collection: choose another folder")
        for folder in (self.path, self._staging, hidden_sibling(self.path, "old")):
            _check_owned(folder)
        with suppress(StorageError):
            begun = _read(self._staging)
            made = (self._staging / ("shard" if self.engine == "edge" else "local")).is_dir()
            if begun is not None and begun.signature == layout.signature and made:
                return self._open(self._staging, begun), begun
        if self._staging.exists():
            shutil.rmtree(self._staging)
        self._staging.mkdir(parents=True)
        engine: QdrantEngine
        if self.engine == "edge":
            engine = EdgeEngine.create(self._staging / "shard", layout.schema, layout.fields)
        else:
            engine = ClientEngine.create(self._staging / "local", layout.schema, layout.fields, None)
        self.save(layout, staged=True)
        return engine, layout

    def save(self, layout: Layout, *, staged: bool) -> None:
        """Replace the file of the layout."""
        write_json((self._staging if staged else self.path) / DEPLOYMENT, layout.stored)

    def publish(self) -> None:
        """Rename the folders."""
        old = hidden_sibling(self.path, "old")
        if self.path.exists():
            if old.exists():
                shutil.rmtree(old)
            self.path.rename(old)
        self._staging.rename(self.path)
        sync(self.path.parent)
        if old.exists():
            shutil.rmtree(old)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the folder and finish a killed switch; raise a `StorageError` inside a collection."""
        check_outside(self.path)
        with write_lock(self.path):
            self._recover()
            yield

    def _recover(self) -> None:
        """Finish a switch that was killed between its two renames."""
        old = hidden_sibling(self.path, "old")
        if (old / DEPLOYMENT).is_file() and not self.path.exists():
            old.rename(self.path)

    def _open(self, folder: Path, layout: Layout) -> QdrantEngine:
        if self.engine == "edge":
            return EdgeEngine.open(folder / "shard", layout.schema)
        return ClientEngine.open(folder / "local", layout.schema, None)


class ServerPlace(Place):
    """A server or cluster: an alias, and one collection of it behind the alias.

    Parameters
    ----------
    url, name
        The server, and the alias by which searches name the collection.
    shards, replicas
        For a cluster: number of shards, and of copies of each.
    client
        A client to use in place of a new one.
    """

    def __init__(
        self, url: str, name: str, *, shards: int | None = None, replicas: int | None = None, client: Any = None
    ) -> None:
        self.url, self.name, self.where = url, name, f"{url.rstrip('/')}/{name}"
        self._server = QdrantServer(url, name, shard_number=shards, replication_factor=replicas)
        self._back_off = BackOff()
        self._given = client
        self._client = client or self._connect()
        self._staged = ""

    def published(self) -> Layout | None:
        """Read the layout from the metadata of the collection behind the alias."""
        target = self._target()
        return None if target is None else self._layout(target)

    def open(self) -> QdrantEngine:
        """Return an engine on the alias, which follows later switches."""
        layout = self.published()
        if layout is None:
            raise StorageError(f"{self.where} is no deployed collection: `retrieve deploy DIR --to {self.url}`")
        return self._engine(self.name, layout)

    def stage(self, layout: Layout) -> tuple[QdrantEngine, Layout]:
        """Find or create the collection that is being built."""
        self._remove_staged(layout.signature)
        for name in self._siblings():
            begun = self._layout(name)
            if begun is not None and begun.state == "building":
                self._staged = name
                return self._engine(name, begun), begun
        self._staged = f"{self.name}-{uuid.uuid4().hex[:8]}"
        engine = self._engine(self._staged, layout)
        engine.create_collection(layout.fields, self._server, {_METADATA: json.dumps(layout.stored)})
        return engine, layout

    def save(self, layout: Layout, *, staged: bool) -> None:
        """Replace the metadata."""
        name = self._staged if staged else self._target() or self.name
        metadata = {_METADATA: json.dumps(layout.stored)}
        self._asked(lambda: self._client.update_collection(name, metadata=metadata))

    def publish(self) -> None:
        """Move the alias, then remove the collection that it named before."""
        from qdrant_client import models

        before = self._target()
        moves: list[Any] = []
        if before is not None:
            moves.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.name)))
        create = models.CreateAlias(collection_name=self._staged, alias_name=self.name)
        moves.append(models.CreateAliasOperation(create_alias=create))
        client = self._client if self._given else self._connect()
        self._asked(lambda: client.update_collection_aliases(moves))
        if before is not None:
            self._asked(lambda: client.delete_collection(before))

    def _connect(self) -> Any:
        from qdrant_client import QdrantClient

        return QdrantClient(url=self.url, api_key=os.environ.get("QDRANT_API_KEY"), check_compatibility=False)

    def _asked(self, call: Callable[[], Result]) -> Result:
        """Return what a request finds, repeated after transient failures; a `StorageError` names the server."""
        try:
            return self._back_off(call)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise StorageError(
                f"Qdrant, {self.where}: {type(error).__name__}: {reason}; check the address, that the server runs, and "
                "QDRANT_API_KEY"
            ) from error

    def _engine(self, name: str, layout: Layout) -> ClientEngine:
        client = self._given or self._connect()
        return ClientEngine(client, name, layout.schema, local=_is_local(client), where=self.where)

    def _target(self) -> str | None:
        aliases = self._asked(lambda: self._client.get_aliases()).aliases
        found = next((one.collection_name for one in aliases if one.alias_name == self.name), None)
        return None if found is None else str(found)

    def _siblings(self) -> list[str]:
        names = [one.name for one in self._asked(lambda: self._client.get_collections()).collections]
        target = self._target()
        return [
            name
            for name in names
            if name != target and name.startswith(f"{self.name}-") and len(name) == len(self.name) + 9
        ]

    def _layout(self, collection: str) -> Layout | None:
        metadata = self._asked(lambda: self._client.get_collection(collection)).config.metadata or {}
        if _METADATA not in metadata:
            return None
        return Layout.of(parse_json(metadata[_METADATA]), f"{self.url}/{collection}")

    def _remove_staged(self, signature: str) -> None:
        """Remove collections that were begun of another layout, and what a killed switch left behind."""
        for name in self._siblings():
            begun = self._layout(name)
            if begun is not None and (begun.signature != signature or begun.state == "ready"):
                self._asked(partial(self._client.delete_collection, name))


def _is_local(client: Any) -> bool:
    from qdrant_client.local.qdrant_local import QdrantLocal

    return isinstance(getattr(client, "_client", None), QdrantLocal)


def _read(folder: Path) -> Layout | None:
    file = folder / DEPLOYMENT
    if not file.is_file():
        return None
    try:
        return Layout.of(parse_json(file.read_text("utf-8")), str(file))
    except (OSError, ValueError) as error:
        raise StorageError(f"{file} cannot be read ({error!r:.200}): deploy again") from error


def _check_owned(folder: Path) -> None:
    """Raise a `StorageError` for what else lies in the folder of a deployed collection, which will be removed."""
    if folder.is_symlink():
        raise StorageError(f"{folder} is a link, which would be replaced: name the folder that it leads to")
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.is_symlink() or entry.name not in _OWNED:
            raise StorageError(
                f"{folder} would be replaced, but {entry} does not belong to a deployed collection: move it away, or "
                "choose another folder"
            )


def place_of(where: str, name: str | None = None) -> Place:
    """Return the place of a deployed collection: a folder, or ``http://HOST:6333/NAME``; errors as `existing`."""
    if not is_server(where):
        return FolderPlace.existing(where)
    url, named = where.rstrip("/"), name
    if named is None:
        url, _, named = url.rpartition("/")
        if url.endswith(("/", ":")) or not named:
            raise InputError(f"{where} names no collection: add its name, as in http://localhost:6333/my-collection")
    return ServerPlace(url, named)


def is_server(where: str) -> bool:
    """Return whether a place is a URL.

    Raises
    ------
    InputError
        For what looks like a server's address without its scheme, and is no folder.
    """
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", where) and not Path(where).exists():
        raise InputError(f"{where} is neither a folder nor a URL: write http://{where}, or ./{where} for a folder")
    return where.startswith(("http://", "https://"))
