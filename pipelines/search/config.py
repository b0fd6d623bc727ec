"""SearchConfig: a search pipeline as a file: which legs, how fused, what reranks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from indexing.disk import write_atomically
from indexing.errors import InputError
from retrieve.hybrid import OnLegError
from retrieve.reranking.budget import Budget
from retrieve.reranking.passages import Passages

SEARCH_FILE = "search.yaml"
"""In a collection's directory: how it is searched unless the caller says otherwise."""

CANDIDATES = 50
"""How many first-stage hits a reranker may read, where nobody says."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LegConfig:
    """How one leg of the collection is searched.

    Parameters
    ----------
    depth
        How many hits it gives to the fusion; by default the pipeline's.
    encoder
        The query encoder's path or Hub name; by default the one that the collection names.
    dtype
        In which the encoder computes, as for every encoder.
    """

    depth: int | None = None
    encoder: str | None = None
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class RerankerConfig:
    """The second stage.

    Parameters
    ----------
    model
        A cross-encoder's path or Hub name, or ``late-interaction``.
    candidates
        How many first-stage hits it may read.
    weight
        The part of the first stage's score that is kept; by default the reranker's own default.
    passages, overlap
        See `CandidateReranker`.
    max_pairs, max_ms, early_exit
        See `Budget`.
    dtype
        In which the model computes.
    """

    model: str
    candidates: int = CANDIDATES
    weight: float | None = None
    passages: Passages = "first"
    overlap: int = 32
    max_pairs: int | None = None
    max_ms: float | None = None
    early_exit: float | None = None
    dtype: str = "auto"

    @property
    def budget(self) -> Budget:
        """What it may spend on a query."""
        return Budget(self.max_pairs, self.max_ms, self.early_exit)


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """A whole search pipeline.

    Parameters
    ----------
    collection
        The directory of the collection, as seen from the file; none in the file that lies in that directory.
    legs
        By name; by default all that the collection has.
    fusion
        As `pipelines.search.fusing.make_fusion` reads it; by default that of `retrieve.fusion.default_fusion`.
    depth
        How many hits each leg gives to the fusion, where the leg does not say.
    reranker
        The second stage, if any.
    on_leg_error
        ``raise``, or ``degrade``: see `HybridRetriever`.
    workers
        How many searches ``asearch`` runs at once.
    cache
        How many answers are kept; 0 keeps none.
    """

    collection: str | None = None
    legs: Mapping[str, LegConfig] | None = None
    fusion: Mapping[str, Any] | None = None
    depth: int = 100
    reranker: RerankerConfig | None = None
    on_leg_error: OnLegError = "raise"
    workers: int = 4
    cache: int = 0
    source: str = field(default="the configuration", compare=False)

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Self:
        """Read a YAML file, or a mapping of the same form.

        Raises
        ------
        InputError
            For a file that cannot be read, a key that there is not (the message lists those there are) or a value of
            another kind: the message names the file and the key.
        """
        if isinstance(source, Mapping):
            return cls._parse(source, "the configuration")
        import yaml

        path = Path(source)
        try:
            content = yaml.safe_load(path.read_text("utf-8"))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        return cls._parse({} if content is None else content, str(path))

    @classmethod
    def of_collection(cls, directory: str | Path) -> Self:
        """Read the collection's own file, or give the defaults where it has none."""
        path = Path(directory) / SEARCH_FILE
        return cls.load(path) if path.is_file() else cls()

    @classmethod
    def of(cls, given: "Self | str | Path | Mapping[str, Any] | None", directory: str | Path) -> Self:
        """Give the configuration that a caller gave, loaded; that of the collection in `directory` for None."""
        if given is None:
            return cls.of_collection(directory)
        return given if isinstance(given, cls) else cls.load(given)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write the file, only what differs from the defaults; all of it or nothing."""
        import yaml

        text = yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)
        write_atomically(Path(path), lambda file: file.write(text.encode()))

    def as_dict(self) -> dict[str, Any]:
        """Give the content of the file: what differs from the defaults."""
        plain = _differing(self)
        plain.pop("source", None)
        if self.legs is not None:
            plain["legs"] = {name: _differing(leg) for name, leg in self.legs.items()}
        if self.reranker is not None:
            plain["reranker"] = _differing(self.reranker)
        if self.fusion is not None:
            plain["fusion"] = {key: _plain(value) for key, value in self.fusion.items()}
        return plain

    @classmethod
    def _parse(cls, content: Any, where: str) -> Self:
        config = _read(cls, content, where, "")
        legs, reranker = config.legs, config.reranker
        if isinstance(legs, list | tuple):
            legs = {key: {} for key in legs}
        if legs is not None:
            if not isinstance(legs, Mapping) or not legs:
                raise InputError(f"{where}: legs must be a list of names, or options by name, not {legs!r}")
            legs = {
                str(name): leg if isinstance(leg, LegConfig) else _read(LegConfig, leg or {}, where, f"legs.{name}")
                for name, leg in legs.items()
            }
        if isinstance(reranker, str):
            reranker = {"model": reranker}
        if reranker is not None and not isinstance(reranker, RerankerConfig):
            reranker = _read(RerankerConfig, reranker, where, "reranker")
            try:
                _ = reranker.budget
            except InputError as error:
                raise InputError(f"{where}: reranker.{error}") from None
        return replace(config, legs=legs, reranker=reranker, source=where)


_KINDS: dict[str, tuple[type, ...]] = {
    "collection": (str,),
    "fusion": (Mapping,),
    "encoder": (str,),
    "model": (str,),
    "dtype": (str,),
    "weight": (int, float),
    "max_ms": (int, float),
    "early_exit": (int, float),
    "overlap": (int,),
    "cache": (int,),
}
_AT_LEAST_ONE = ("depth", "workers", "candidates", "max_pairs")
_AT_LEAST_ZERO = ("overlap", "cache", "weight")
_CHOICES: dict[str, tuple[str, ...]] = {"passages": get_args(Passages), "on_leg_error": get_args(OnLegError)}


def _read(kind: type[T], content: Any, where: str, key: str) -> T:
    """Make one of the dataclasses from a mapping."""
    at = f"{where}: {key or 'the content'}"
    if not isinstance(content, Mapping):
        raise InputError(f"{at} must be keys with values, not {content!r}")
    known = {entry.name: entry for entry in fields(kind) if entry.name != "source"}  # type: ignore[arg-type]
    for name, value in content.items():
        path = f"{key}.{name}" if key else str(name)
        if name not in known:
            raise InputError(f"{where}: unknown key {path!r}: known are {', '.join(known)}")
        if value is not None or known[name].default is not None:
            _check(value, name, f"{where}: {path}")
    if kind is RerankerConfig and "model" not in content:
        raise InputError(f"{where}: reranker.model is missing: a cross-encoder, or late-interaction")
    return kind(**content)


def _check(value: Any, name: str, at: str) -> None:
    if name in _CHOICES and value not in _CHOICES[name]:
        raise InputError(f"{at} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
    if name in _AT_LEAST_ONE and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"{at} must be a whole number of at least 1, not {value!r}")
    kinds = _KINDS.get(name)
    if kinds is None:
        return
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = {str: "text", int: "a whole number", float: "a number", Mapping: "keys with values"}
        raise InputError(f"{at} must be {names[kinds[-1]]}, not {value!r}")
    if name in _AT_LEAST_ZERO and not value >= 0:  # type: ignore[operator]  # a number, as was just checked
        raise InputError(f"{at} must be at least 0, not {value!r}")


def _differing(config: Any) -> dict[str, Any]:
    """Give the fields of a dataclass that are not at their defaults."""
    return {
        entry.name: getattr(config, entry.name)
        for entry in fields(config)
        if getattr(config, entry.name) != entry.default
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
