"""ServeConfig: what ``retrieve serve`` offers and within which limits, as serve.yaml describes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.settings_files import read_dataclass, read_yaml

LARGEST_PORT = 65535
"""Of TCP."""

ModelKind = Literal["dense", "sparse", "cross-encoder"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what one request may ask, and of what the server holds at once.

    Parameters
    ----------
    body_bytes
        Size of a request's body.
    nesting
        Levels of nested JSON.
    hits
        ``offset + k`` of a search.
    candidates
        Candidates that a reranker may be asked to read, and the pool of a refinement.
    query_chars, phrasings
        Length of a query, and number of phrasings of one query.
    inputs, input_chars
        Number of texts of a model request, and the length of each.
    documents
        Number of documents of one write.
    waiting
        Requests that may wait for each kind of work; further ones are refused with 503.
    running
        Batches of searches that run at once for each collection, and of each model.
    batch_requests, batch_tokens
        Requests, and estimated tokens, that one batch joins.
    request_seconds
        Time after which a request is answered with 504, unless its header X-Timeout-Ms names a shorter one.
    drain_seconds
        Time that running requests have to end after the signal to stop.
    """

    body_bytes: int = field(default=4_000_000, metadata={"min": 1})
    nesting: int = field(default=40, metadata={"min": 1})
    hits: int = field(default=1000, metadata={"min": 1})
    candidates: int = field(default=1000, metadata={"min": 1})
    query_chars: int = field(default=8192, metadata={"min": 1})
    phrasings: int = field(default=16, metadata={"min": 1})
    inputs: int = field(default=1024, metadata={"min": 1})
    input_chars: int = field(default=200_000, metadata={"min": 1})
    documents: int = field(default=1000, metadata={"min": 1})
    waiting: int = field(default=256, metadata={"min": 1})
    running: int = field(default=2, metadata={"min": 1})
    batch_requests: int = field(default=64, metadata={"min": 1})
    batch_tokens: int = field(default=16_384, metadata={"min": 1})
    request_seconds: float = field(default=30.0, metadata={"above": 0})
    drain_seconds: float = field(default=30.0, metadata={"above": 0})


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """One collection to serve.

    Parameters
    ----------
    path
        Its directory, relative to the file.
    config
        Search configuration in place of its ``search.yaml``, relative to the file.
    description
        What it contains, for people and agents.
    """

    path: str = field(metadata={"is": "the directory of a collection"})
    config: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model to serve beside those of the collections.

    Parameters
    ----------
    path
        Path or Hub name.
    kind
        What it is.
    dtype
        Precision in which it computes.
    """

    path: str = field(metadata={"is": "the path or Hub name of a model"})
    kind: ModelKind = field(metadata={"is": "dense, sparse or cross-encoder"})
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Description of a service.

    Parameters
    ----------
    collections, models
        What is served, by name.
    host, port
        Address to listen on; port 0 takes a free one.
    writable
        Accept writes of documents.
    keys
        File of API keys (``retrieve key``), relative to the file; None accepts every request.
    allow_anonymous
        Listen on an address other than loopback without keys.
    allowed_hosts
        Values of the header Host that are answered; by default any, but loopback names only on a loopback address.
    cors_origins
        Origins whose pages may call the service; none by default.
    judge
        File of judgements to which the page appends.
    log_queries
        Write query texts to the access log.
    refresh_seconds
        How often to look for what other processes have written.
    limits
        See `Limits`.
    """

    collections: Mapping[str, CollectionEntry] = field(default_factory=dict)
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = field(default=8080, metadata={"min": 0, "below": LARGEST_PORT + 1})
    writable: bool = False
    keys: str | None = None
    allow_anonymous: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    judge: str | None = None
    log_queries: bool = False
    refresh_seconds: float = field(default=1.0, metadata={"above": 0})
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a YAML or JSON file; its relative paths start at its folder.

        Raises
        ------
        InputError
            For an unknown key or an invalid value, naming the file and the key.
        """
        config = read_dataclass(cls, read_yaml(path) or {}, str(path))
        folder = local_path(path, "path").expanduser().parent

        def located(name: str | None) -> str | None:
            return None if name is None else str(folder / name)

        collections = {
            name: replace(entry, path=str(folder / entry.path), config=located(entry.config))
            for name, entry in config.collections.items()
        }
        return replace(config, collections=collections, keys=located(config.keys), judge=located(config.judge))

    def with_collections(self, directories: Sequence[str]) -> Self:
        """Add collections by their directories, each under the name of its folder.

        Raises
        ------
        InputError
            When two collections have one name.
        """
        collections = dict(self.collections)
        for directory in directories:
            name = Path(directory).resolve().name
            if name in collections:
                raise InputError(
                    f"two collections are called {name!r}: name them in a file (--config serve.yaml, key collections)"
                )
            collections[name] = CollectionEntry(directory)
        return replace(self, collections=collections)

    def check(self) -> None:
        """Raise an `InputError` for a port that does not exist, nothing to serve, or a host open to all but no keys."""
        if not 0 <= self.port <= LARGEST_PORT:
            raise InputError(f"port must be from 0 to {LARGEST_PORT}, not {self.port}")
        if not self.collections and not self.models:
            raise InputError("there is nothing to serve: name a collection's directory, or models in --config")
        for name in self.collections:
            if not name or "/" in name:
                raise InputError(f"a collection cannot be served under the name {name!r}: use letters, digits, - and _")
        if not self.loopback and self.keys is None and not self.allow_anonymous:
            raise InputError(
                f"{self.host} can be reached by others, and no API keys are set: create one with `retrieve key "
                "keys.yaml` and name the file as keys (--keys), or allow every caller with allow_anonymous "
                "(--allow-anonymous)"
            )

    @property
    def loopback(self) -> bool:
        """True when only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def changed(self, **options: Any) -> Self:
        """Return the configuration with those of these options that are not None.

        Raises
        ------
        InputError
            For a file without a name.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in ("keys", "judge"):
            if not str(given.get(name, name)).strip():
                raise InputError(f"{name} must be the path of a file, not {given[name]!r}")
        return replace(self, **given)
