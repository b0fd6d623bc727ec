"""SearchConfig: a search system as a file describes it: its legs, their fusion, and the reranker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.query_syntax import QuerySyntax
from indexing.settings_files import read_dataclass, read_yaml, write_yaml
from retrieve.hybrid import DEPTH, OnLegError
from retrieve.remote import is_url
from retrieve.reranking.budget import Budget
from retrieve.reranking.passages import Passages

SEARCH_FILE = "search.yaml"
"""File in a collection's directory with the configuration of its searches."""

CANDIDATES = 50
"""Number of first-stage hits that a reranker reads by default."""


@dataclass(frozen=True, slots=True)
class LegConfig:
    """Search options of one leg.

    Parameters
    ----------
    depth
        Number of hits that the leg gives to the fusion; by default the system's.
    encoder
        Path or Hub name of the query encoder; by default the one that the collection's manifest names.
    dtype
        Precision in which the encoder computes.
    feedback
        Pseudo-relevance feedback: ``rm3`` or ``rocchio`` for BM25, ``vector`` for a dense leg, or a mapping with
        ``method`` and its options (`retrieve.feedback`).
    """

    depth: int | None = field(default=None, metadata={"min": 1})
    encoder: str | None = None
    dtype: str = "auto"
    feedback: str | Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RerankerConfig:
    """The second stage.

    Parameters
    ----------
    model
        Path, Hub name or URL of a cross-encoder, or ``late-interaction``.
    candidates
        Number of first-stage hits that it may read.
    weight
        Share of the first stage's score in the final score; by default the reranker's own default.
    passages
        How long documents are read; by default the reranker's own default.
    overlap
        See `CandidateReranker`.
    max_pairs, max_ms, early_exit
        See `Budget`.
    dtype
        Precision in which the model computes.
    fingerprint
        Scores of fixed pairs by which a changed model behind a URL is refused, as `SearchPipeline.save` writes them.
    """

    model: str = field(metadata={"is": "a cross-encoder, or late-interaction"})
    candidates: int = field(default=CANDIDATES, metadata={"min": 1})
    weight: float | None = field(default=None, metadata={"min": 0})
    passages: Passages | None = None
    overlap: int = field(default=32, metadata={"min": 0})
    max_pairs: int | None = field(default=None, metadata={"min": 1})
    max_ms: float | None = field(default=None, metadata={"above": 0})
    early_exit: float | None = field(default=None, metadata={"above": 0})
    dtype: str = "auto"
    fingerprint: Sequence[float] | None = None

    @property
    def budget(self) -> Budget:
        """Limits of what the reranker reads for a query."""
        return Budget(self.max_pairs, self.max_ms, self.early_exit)


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """Description of a search system.

    Parameters
    ----------
    collection
        Directory of the collection, relative to the file; not needed in a file that lies in that directory.
    legs
        The legs by name; by default all of the collection.
    fusion
        As `pipelines.search.fusing.make_fusion` reads it; by default `retrieve.hybrid.fusion_for` the legs.
    depth
        Number of hits that each leg gives to the fusion, unless the leg has a depth of its own.
    reranker
        The second stage; None for none.
    on_leg_error
        ``raise``, or ``degrade``: see `HybridRetriever`.
    workers
        Number of searches that ``asearch`` runs at once.
    cache
        Number of answers kept in memory; 0 keeps none.
    query_syntax
        ``plain``, in which no character is an operator, or ``simple`` (docs/queries.md).
    synonyms
        File of words that mean the same, relative to the collection's directory; None for none.
    tenants
        The declared keyword field that names a document's tenant, for searches of one tenant; None for none.
    """

    collection: str | None = None
    legs: Mapping[str, LegConfig] | None = None
    fusion: Mapping[str, Any] | None = None
    depth: int = field(default=DEPTH, metadata={"min": 1})
    reranker: RerankerConfig | None = None
    on_leg_error: OnLegError = "raise"
    workers: int = field(default=4, metadata={"min": 1})
    cache: int = field(default=0, metadata={"min": 0})
    query_syntax: QuerySyntax = "plain"
    synonyms: str | None = None
    tenants: str | None = None

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], where: str = "the configuration") -> Self:
        """Read a YAML or JSON file, or a mapping of the same form.

        Parameters
        ----------
        source
            The file's path, or its content. In short, `legs` may be a list of names and `reranker` a model.
        where
            What error messages call a mapping.

        Raises
        ------
        InputError
            For a file that cannot be read, an unknown key (the message lists the known ones) or a value of the wrong
            type: the message names the file and the key.
        """
        if isinstance(source, Mapping):
            return read_dataclass(cls, _expanded(source, where), where)
        content = read_yaml(local_path(source, "the configuration"))
        return read_dataclass(cls, _expanded({} if content is None else content, str(source)), str(source))

    @classmethod
    def of_collection(cls, directory: str | Path) -> Self:
        """Read ``search.yaml`` in a collection's directory; without the file, return the defaults.

        Raises
        ------
        InputError
            As for `load`, and for a model behind a URL: a collection may come from anywhere, and its file alone must
            not make a search send queries to a server.
        """
        path = local_path(directory, "directory") / SEARCH_FILE
        if not path.is_file():
            return cls()
        config = cls.load(path)
        models = [config.reranker and config.reranker.model, *(leg.encoder for leg in (config.legs or {}).values())]
        if (url := next(filter(is_url, models), None)) is not None:
            raise InputError(f"{path} names a model at {url}: to call that server, name the file (--config {path})")
        return config

    @classmethod
    def of(cls, given: "Self | str | Path | Mapping[str, Any] | None", directory: str | Path) -> Self:
        """Return a configuration given in any form; for None, that of the collection in `directory`."""
        if given is None:
            return cls.of_collection(directory)
        return given if isinstance(given, cls) else cls.load(given)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write what differs from the defaults to a YAML file, atomically."""
        write_yaml(path, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the file's content: what differs from the defaults."""
        values = _changed(self)
        if self.legs is not None:
            values["legs"] = {name: _changed(leg) for name, leg in self.legs.items()}
        if self.reranker is not None:
            values["reranker"] = {name: _plain(value) for name, value in _changed(self.reranker).items()}
        if self.fusion is not None:
            values["fusion"] = {key: _plain(value) for key, value in self.fusion.items()}
        return values


def update_search_file(directory: str | Path, changes: Mapping[str, Any]) -> Path:
    """Write these keys to a collection's ``search.yaml``, atomically; its other keys stay as they are."""
    path = Path(directory) / SEARCH_FILE
    write_yaml(path, {**((read_yaml(path) or {}) if path.is_file() else {}), **changes})
    return path


def _expanded(content: Any, where: str) -> Any:
    """Return the content with its short forms written out: a list of legs, a leg without options, a reranker's name."""
    if not isinstance(content, Mapping):
        return content
    content = dict(content)
    legs = content.get("legs")
    if legs is not None:
        if isinstance(legs, list | tuple) and all(isinstance(name, str) for name in legs):
            if twice := next((name for name in legs if legs.count(name) > 1), None):
                raise InputError(f"{where}: legs names {twice!r} twice")
            legs = {name: {} for name in legs}
        if not isinstance(legs, Mapping) or not legs:
            raise InputError(f"{where}: legs must be a list of names, or options by name, not {legs!r}")
        content["legs"] = {name: {} if leg is None else leg for name, leg in legs.items()}
    if isinstance(content.get("reranker"), str):
        content["reranker"] = {"model": content["reranker"]}
    return content


def _changed(config: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults."""
    values = {entry.name: (getattr(config, entry.name), entry.default) for entry in fields(config)}
    return {name: value for name, (value, default) in values.items() if value != default}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
