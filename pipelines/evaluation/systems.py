"""Systems to score: a name and a search configuration each, and how their legs are built."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from indexing.errors import InputError
from indexing.query_syntax import QuerySyntax, Synonyms

if TYPE_CHECKING:
    from pipelines.search.config import RerankerConfig, SearchConfig

LegKind = Literal["bm25", "dense", "sparse", "tokens"]

HYBRID, HYBRID_RERANK = HYBRIDS = ("hybrid", "hybrid+rerank")
MULTIFIELD = "bm25-multifield"
"""BM25 over title and text as two fields of equal weight, like Anserini's multifield; hybrids leave this leg out."""
CONFIGURED = "configured"
"""The system of a collection's ``search.yaml``."""
COLBERT = "colbert"
"""A leg of token vectors, with the encoder of ``--late-interaction``."""
BUILT_IN = ("bm25", MULTIFIELD, "dense", "sparse", COLBERT, *HYBRIDS)
"""Systems that need no file: each leg alone, all legs fused, and a reranker on top of that."""


@dataclass(frozen=True, slots=True)
class LegSpec:
    """One leg: what is indexed, and with which model.

    Parameters
    ----------
    name
        Name that systems use.
    kind
        ``bm25``, ``dense``, ``sparse``, or ``tokens`` for the token vectors of a multi-vector encoder.
    model
        Path or Hub name of the encoder; None for BM25, and for the default dense model.
    dtype
        Precision of the encoder.
    index
        Index of a dense leg: ``flat`` (exact) or ``hnsw``.
    fields
        ``{"title": 1.0, "text": 1.0}`` makes a BM25 leg score title and text separately, with these weights; by
        default both are one field.
    """

    name: str
    kind: LegKind = field(metadata={"is": "bm25, dense, sparse or tokens"})
    model: str | None = None
    dtype: str = "auto"
    index: Literal["flat", "hnsw"] = "flat"
    fields: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_name("leg", self.name)
        if self.fields is not None and self.kind != "bm25":
            raise InputError(f"leg {self.name!r}: fields are weights of a bm25 leg, as in {{title: 1, text: 1}}")

    @property
    def settings(self) -> dict[str, Any]:
        """The options that apply to a leg of this kind, without its name."""
        other = {
            "name",
            *{"bm25": ("dtype", "index"), "dense": (), "sparse": ("index",), "tokens": ("index",)}[self.kind],
        }
        return {option: value for option, value in asdict(self).items() if option not in other and value is not None}


@dataclass(frozen=True, slots=True)
class Reading:
    """How a configuration reads queries, and searches legs twice.

    Parameters
    ----------
    syntax
        ``plain`` or ``simple``.
    synonyms
        The file of synonyms, an absolute path; None for none.
    feedback
        Pseudo-relevance feedback by leg.
    """

    syntax: QuerySyntax = "plain"
    synonyms: str | None = None
    feedback: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: "SearchConfig", directory: str | Path) -> "Reading":
        """Return that of a configuration for the collection in `directory`."""
        feedback = {name: leg.feedback for name, leg in (config.legs or {}).items() if leg.feedback is not None}
        synonyms = None if config.synonyms is None else str(Path(directory).absolute() / config.synonyms)
        return cls(config.query_syntax, synonyms, feedback)

    def feedback_of(self, leg: str, kind: str) -> str | Mapping[str, Any] | None:
        """Return the feedback of a leg, which has the name of its kind in a collection."""
        return self.feedback.get(leg, self.feedback.get(kind))

    def determines(self, leg: str, kind: str) -> dict[str, Any]:
        """Return what decides the answers of one leg, beside the leg itself."""
        found: dict[str, Any] = {} if self.syntax == "plain" else {"query_syntax": self.syntax}
        if self.synonyms is not None:
            found["synonyms"] = repr(Synonyms.load(self.synonyms))
        if (feedback := self.feedback_of(leg, kind)) is not None:
            found["feedback"] = repr(feedback)
        return found


@dataclass(frozen=True, slots=True)
class System:
    """A search system to score.

    Parameters
    ----------
    name
        Name in the tables.
    config
        How it searches. Of `SearchConfig` its legs, fusion, depth and reranker apply; late interaction reads the
        system's first leg of token vectors, or else encodes with its first dense leg's encoder.
    reading
        How it reads queries, and its feedback; None for what the collection's ``search.yaml`` says.
    """

    name: str
    config: "SearchConfig"
    reading: Reading | None = None

    def __post_init__(self) -> None:
        check_name("system", self.name)
        if not self.legs:
            raise InputError(f"system {self.name!r}: legs must be a list of names, or options by name")
        fusion = self.config.fusion
        if fusion is None:
            return
        from pipelines.search.fusing import with_method
        from retrieve.fusion import fusion_from_config

        try:
            fusion_from_config(with_method(fusion))
        except InputError as error:
            raise InputError(f"system {self.name!r}: {error}") from None
        weights = fusion.get("weights")
        if isinstance(weights, list | tuple) and len(weights) != len(self.legs):
            raise InputError(
                f"system {self.name!r}: weights must be one for each leg ({', '.join(self.legs)}), not {list(weights)}"
            )

    def reading_over(self, usual: Reading) -> Reading:
        """Return how it reads queries; the usual way, with the feedback of its own legs, unless it says another."""
        if self.reading is not None:
            return self.reading
        own = {name: leg.feedback for name, leg in (self.config.legs or {}).items() if leg.feedback is not None}
        return replace(usual, feedback={**usual.feedback, **own})

    @property
    def legs(self) -> tuple[str, ...]:
        """Names of its legs."""
        return tuple(self.config.legs or ())

    @property
    def determines(self) -> dict[str, Any]:
        """The options that decide its answers, without the reranker's model: one that has no effect is left out."""
        options: dict[str, Any] = {"legs": list(self.legs)}
        if len(self.legs) > 1:
            depths = {name: leg.depth for name, leg in (self.config.legs or {}).items() if leg.depth is not None}
            options |= {"fusion": self.config.as_dict().get("fusion"), "depth": self.config.depth, "depths": depths}
        if self.config.reranker is not None:
            reranker = asdict(self.config.reranker)
            options["reranker"] = {name: value for name, value in reranker.items() if name not in ("model", "dtype")}
        return options

    def first_stage(self, k: int) -> int:
        """Return the number of hits of the first stage when `k` are scored."""
        reranker = self.config.reranker
        return k if reranker is None else max(k, reranker.candidates)

    def leg_depths(self, k: int) -> dict[str, int]:
        """Return the number of hits that each leg gives to a search, when `k` are scored."""
        legs = self.config.legs or {}
        if len(legs) == 1:
            return dict.fromkeys(legs, self.first_stage(k))
        return {name: leg.depth or self.config.depth for name, leg in legs.items()}

    def deepest(self, k: int) -> int:
        """Return the most hits that a search asks a leg for, when `k` are scored."""
        return max(self.first_stage(k), *self.leg_depths(k).values())


@dataclass(frozen=True, slots=True)
class Plan:
    """Systems to score, and the legs that they use.

    Parameters
    ----------
    legs
        The legs by name.
    systems
        The systems, in the order of the tables.
    not_run
        Requested systems that cannot be run, with the reason.
    """

    legs: Mapping[str, LegSpec]
    systems: tuple[System, ...]
    not_run: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"two systems are called {twice!r}: give each its own name")
        for system in self.systems:
            for leg in system.legs:
                if leg not in self.legs:
                    raise InputError(f"system {system.name!r}: there is no leg {leg!r}: {', '.join(self.legs)}")

    def used_legs(self) -> list[str]:
        """Return the names of the legs that systems use, each once."""
        return list(dict.fromkeys(leg for system in self.systems for leg in system.legs))


def built_in(
    names: Sequence[str],
    legs: Sequence[str],
    *,
    reranker: "RerankerConfig",
    fusion: Mapping[str, Any] | None = None,
    depth: int,
) -> list[System]:
    """Return the built-in systems of these names over these legs, in the order of the tables."""
    from pipelines.search.config import LegConfig, SearchConfig

    systems = []
    for name in (*legs, *HYBRIDS):
        if name in names:
            used = {leg: LegConfig() for leg in (legs if name in HYBRIDS else (name,))}
            second = reranker if name == HYBRID_RERANK else None
            systems.append(System(name, SearchConfig(legs=used, fusion=fusion, depth=depth, reranker=second)))
    return systems


def configured_systems(
    directory: str | Path, files: Sequence[str], legs: Sequence[str], *, own: bool = True
) -> list[System]:
    """Return the systems that configuration files describe, over the legs of a collection.

    Parameters
    ----------
    directory
        The collection; its ``search.yaml``, if there is one, is the system `CONFIGURED`, as ``retrieve search`` runs.
    files
        Other files of this form; each is a system with the file's name.
    legs
        Names of the collection's legs, for a file that names none.
    own
        Whether to read ``search.yaml``.

    Raises
    ------
    InputError
        For a file that cannot be read, or that names another query encoder than the collection's.
    """
    from pipelines.search.config import SEARCH_FILE, LegConfig, SearchConfig

    usual = SearchConfig.of_collection(directory)
    found = [(CONFIGURED, usual, SEARCH_FILE)] if own and (Path(directory) / SEARCH_FILE).is_file() else []
    found += [(Path(file).stem, SearchConfig.load(file), file) for file in files]
    systems = []
    for name, config, file in found:
        used = dict(config.legs or {leg: LegConfig() for leg in legs})
        for leg, options in used.items():
            opened = (usual.legs or {}).get(leg, LegConfig())
            if (options.encoder or opened.encoder, options.dtype) != (opened.encoder, opened.dtype):
                raise InputError(
                    f"{file}: the leg {leg!r} has another encoder or dtype than {SEARCH_FILE} of the collection, and "
                    "each leg is opened once: leave them out, or name the encoder (--dense, --sparse)"
                )
        systems.append(System(name, replace(config, legs=used), Reading.of(config, directory)))
    return systems


LONGEST_NAME = 200
"""Bytes of a name that is the first part of a file's name."""


def check_name(what: str, name: str) -> None:
    """Raise an `InputError` for a name that no file and no column of a run can have."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InputError(f"{what} {name[:40]!r}: its name is a file's name too, and is not UTF-8")
    if len(name.encode()) > LONGEST_NAME:
        raise InputError(f"{what} {name[:40]!r}…: its name is a file's name too, of at most {LONGEST_NAME} bytes")
    if not name or name.startswith(".") or set(name) & set('/\\ \t\n"'):
        raise InputError(
            f"{what} {name!r}: its name is a file's name too: no white space, quotes or slashes, no dot in front"
        )
