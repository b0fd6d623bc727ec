"""Legs to be scored: built once and kept, or found in a collection; each opened once."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.collection.reader import Collection
from indexing.errors import InputError, ModelError
from indexing.indexes.registry import kind_of
from indexing.query_syntax import Synonyms
from indexing.resources import Closing
from pipelines.build.job import build_collection
from pipelines.build.plan import corpus_record, is_built
from pipelines.evaluation.result_cache import keep, kept, key_of
from pipelines.evaluation.systems import LegKind, LegSpec, Reading, System
from pipelines.models import LATE_INTERACTION, Models
from pipelines.search.blocks import search_blocks
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from pipelines.search.opening import LegRetrievers, make_reranker, searched_legs, stored_reranker, stored_tokens
from pipelines.search.reading import read_queries
from retrieve.protocols import similarity_name
from retrieve.remote import is_url
from retrieve.reranking.carried import CarriedWeight

if TYPE_CHECKING:
    from indexing.corpora.corpus import Corpus
    from indexing.hits import Hits
    from retrieve.reranking.base import CandidateReranker
    from retrieve.retrievers import Retriever

QUERIES_AT_ONCE = 1024

Say = Callable[[str], object]
"""Callback for progress messages."""


def encoder_of(leg: LegSpec, models: Models) -> Any:
    """Return a leg's encoder; None for BM25.

    Raises
    ------
    ModelError
        When it cannot be loaded, or a leg of term weights or token vectors names none.
    """
    if leg.kind == "bm25":
        return None
    if leg.kind == "sparse":
        if leg.model is None:
            raise ModelError("no sparse model was given (--sparse)")
        return models.sparse(leg.model, leg.dtype)
    if leg.kind == "tokens":
        if leg.model is None:
            raise ModelError("no late-interaction model was given (--late-interaction)")
        return models.multi_vector(leg.model, leg.dtype)
    return models.dense(leg.model, leg.dtype)


def reranker_identity(system: System, models: Models, legs: "Mapping[str, OpenLeg] | None" = None) -> Any:
    """Return what decides a reranker's scores, beside the searched legs' encoders and the options of the system.

    `legs` are the system's open legs. Without them, the reranker's model is loaded, and what a collection stores is
    left out.
    """
    config = system.config.reranker
    if config is None:
        return None
    if config.model == LATE_INTERACTION:
        return config.model if legs is None else _late_interaction(config, legs[system.legs[0]].collection)
    if is_url(config.model):
        return _unnamed(make_reranker(config, models, None).identity)  # type: ignore[attr-defined]
    model = models.cross_encoder(config.model, config.dtype)
    carried = CarriedWeight.read(Path(model.checkpoint.folder)) if config.weight is None else None
    return _unnamed(model.identity) | ({} if carried is None else {"reranking": asdict(carried)})


def _late_interaction(config: RerankerConfig, collection: Collection) -> Any:
    """Return what decides late interaction over a collection: beside the model, the leg that it reads, if any."""
    name = stored_tokens(config, collection.manifest)
    if name is None:
        return config.model
    leg = collection.leg(name)
    stored = {"backend": leg.backend, "parameters": dict(leg.parameters), "encoder": _unnamed(leg.encoder or {})}
    return {"model": config.model, "stored": stored}


def system_reranker(system: System, legs: Mapping[str, "OpenLeg"], models: Models) -> "CandidateReranker | None":
    """Return a new reranker of a system.

    Late interaction reads the vectors of the system's first leg of token vectors, or else of such a leg in the
    collection of its first leg. Without one it encodes candidates with its first dense leg's encoder.
    """
    config = system.config.reranker
    if config is None:
        return None
    used = [legs[name] for name in system.legs]
    tokens = next((leg for leg in used if leg.kind == "tokens"), None)
    if tokens is not None and stored_tokens(config, tokens.collection.manifest) is not None:
        return stored_reranker(config, tokens.retriever, mean=similarity_name(tokens.encoder) == "meanmaxsim")
    dense = next((leg.encoder for leg in used if leg.kind == "dense"), None)
    retrievers = LegRetrievers(used[0].collection, models=models, dense=dense)
    try:
        return retrievers.reranker(config, [leg.retriever for leg in used])
    except InputError as error:
        raise InputError(f"system {system.name!r}: {error}") from None


def reranker_bytes(system: System, legs: Mapping[str, "OpenLeg"]) -> int:
    """Return the size on disk of the token vectors that a system's reranker reads from a leg that is not searched."""
    config, collection = system.config.reranker, legs[system.legs[0]].collection
    name = None if config is None else stored_tokens(config, collection.manifest)
    if name is None or any(legs[leg].kind == "tokens" for leg in system.legs):
        return 0
    return collection.leg(name).bytes + collection.stats().shard_bytes[name]


@dataclass(frozen=True, slots=True)
class OpenLeg:
    """A leg of one collection, ready to be searched.

    Parameters
    ----------
    name, kind
        As in its `LegSpec`.
    retriever
        Its retriever.
    collection
        The open collection that holds it, with the documents' texts.
    encoder
        Query encoder of a dense or sparse leg.
    exact
        Whether a deeper search begins with the hits of a shallower one.
    determines
        Everything that decides its answers, as JSON values.
    index_bytes
        Size of its index on disk.
    encode_s, build_s
        Seconds to encode and to index the corpus; None for a leg that was built elsewhere.
    reading
        How it reads queries.
    cache_name
        Name of its answers in a cache; a leg that is searched in two ways has two.
    filter
        Only documents that match are searched; None for all.
    """

    name: str
    kind: str
    retriever: "Retriever"
    collection: Collection
    encoder: Any
    exact: bool
    determines: Mapping[str, Any]
    index_bytes: int
    encode_s: float | None = None
    build_s: float | None = None
    reading: Reading = field(default_factory=Reading)
    cache_name: str = ""
    filter: Mapping[str, Any] | None = None

    @property
    def encoder_record(self) -> dict[str, Any] | None:
        """Name, weights and precision of the query encoder; None for BM25."""
        if self.encoder is None:
            return None
        identity = self.encoder.identity
        shown = ("name", "revision", "weights_sha256", "dtype", "max_length", "url", "model")
        return {key: identity[key] for key in shown if key in identity}

    def search(self, queries: list[str], depth: int, *, show_progress: bool = False) -> "Hits":
        """Find the best `depth` documents of every query."""
        search = self.retriever.search
        what = f"searching {self.name}"
        return search_blocks(
            lambda block: search(self.read(block), depth, filter=self.filter),
            queries,
            QUERIES_AT_ONCE,
            what,
            show_progress,
        )

    def read(self, queries: list[str]) -> list[str]:
        """Return the queries as the legs take them."""
        synonyms = None if self.reading.synonyms is None else Synonyms.load(self.reading.synonyms)
        return read_queries(queries, self.reading.syntax, self.collection.snapshot, self.filter, synonyms)


class LegSource(Closing):
    """Base class of the sources of a dataset's legs; each leg is opened once, and closed with its source."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._usual = Reading()
        self._legs: dict[str, OpenLeg] = {}
        self._opened = ExitStack()

    def open(self, leg: LegSpec, system: System | None = None) -> OpenLeg:
        """Return a leg as a system searches it, built if necessary; the same object each time."""
        reading = self._usual if system is None else system.reading_over(self._usual)
        special = reading.determines(leg.name, leg.kind)
        name = f"{leg.name}~{key_of(special)[:8]}" if special else leg.name
        if name not in self._legs:
            opened = self._open(leg, reading.feedback_of(leg.name, leg.kind))
            determines = {**opened.determines, **special}
            self._legs[name] = replace(opened, determines=determines, reading=reading, cache_name=name)
        return self._legs[name]

    def close(self) -> None:
        """Close all legs."""
        self._legs.clear()
        self._opened.close()

    @abstractmethod
    def _open(self, leg: LegSpec, feedback: str | Mapping[str, Any] | None) -> OpenLeg:
        """Open a leg whose collection `_opened` closes."""


class BuiltLegs(LegSource):
    """Legs built from a corpus, each in a collection of its own, so that one more leg rebuilds no other.

    Parameters
    ----------
    corpus
        The documents.
    folder
        Folder of the collections, ``<folder>/<leg>``; they stay there.
    state
        Folder in which the seconds of their builds are kept.
    models
        The loader of the encoders.
    """

    def __init__(
        self, corpus: "Corpus", folder: Path, state: Path, models: Models, *, say: Say, show_progress: bool = True
    ) -> None:
        super().__init__(models)
        self.corpus, self.folder, self.state = corpus, folder, state
        self.say, self.show_progress = say, show_progress

    def _open(self, leg: LegSpec, feedback: str | Mapping[str, Any] | None) -> OpenLeg:
        encoder = encoder_of(leg, self.models)
        seconds = self._build(leg, encoder)
        collection = self._opened.enter_context(Collection.open(self.folder / leg.name))
        config: dict[str, LegConfig] = {leg.kind: LegConfig(feedback=feedback)}
        legs = LegRetrievers(collection, config, dense=encoder, sparse=encoder, multi_vector=encoder)
        return _opened(collection, legs, leg.kind, leg, seconds)

    def _build(self, leg: LegSpec, encoder: Any) -> Mapping[str, float | None]:
        directory, record = self.folder / leg.name, self.state / f"build-{leg.name}.json"
        wanted: dict[str, Any] = {
            "bm25": leg.kind == "bm25",
            "dense": encoder if leg.kind == "dense" else None,
            "sparse": encoder if leg.kind == "sparse" else None,
            "multi_vector": encoder if leg.kind == "tokens" else None,
            "dense_index": leg.index,
            "bm25_fields": leg.fields,
        }
        dtype = "int8" if getattr(encoder, "precision", None) == "int8" else str(getattr(encoder, "dtype", None))
        identity = {**corpus_record(self.corpus), **asdict(leg), "dtype": dtype}
        key = key_of({**identity, "encoder": _unnamed(encoder.identity) if encoder else None})
        seconds = kept(record, key)
        # Vectors of another precision are other vectors, although an encoder of either precision can search them.
        if is_built(directory, self.corpus, **wanted) and (seconds is not None or not record.exists()):
            self.say(f"{leg.name}: using the collection in {directory}")
            return seconds or {}
        report = build_collection(self.corpus, directory, **wanted, overwrite=True, show_progress=self.show_progress)
        self.say(str(report))
        seconds = _seconds(report.seconds)
        keep(record, key, seconds)
        return seconds


class CollectionLegs(LegSource):
    """The legs of an existing collection, which is opened once.

    Parameters
    ----------
    filter
        Only documents that match are searched; None for all.
    """

    def __init__(self, directory: str | Path, models: Models, filter: Mapping[str, Any] | None = None) -> None:
        super().__init__(models)
        self.directory, self.filter = Path(directory), filter
        stated = SearchConfig.of_collection(directory)
        self._configs, self._usual = stated.legs or {}, Reading.of(stated, directory)
        self._collection = self._opened.enter_context(Collection.open(directory))

    def _open(self, leg: LegSpec, feedback: str | Mapping[str, Any] | None) -> OpenLeg:
        # The leg of a benchmark has the name of its system, and the collection's that of its kind.
        name = leg.name if leg.name in self._collection.manifest.legs else leg.kind
        config = replace(self._configs.get(name, LegConfig()), feedback=feedback)
        if leg.model is not None:
            config = replace(config, encoder=leg.model, dtype=leg.dtype)
        legs = LegRetrievers(self._collection, {name: config}, models=self.models)
        opened = _opened(self._collection, legs, name, leg, {})
        # The documents may change at any time, and no fingerprint of a corpus would show it.
        determines = {**opened.determines, "files": _stamps(self.directory)}
        if self.filter is not None:
            determines["filter"] = dict(self.filter)
        return replace(opened, determines=determines, filter=self.filter)


def specs_of(
    collection: "Collection",
    *,
    dense: str | None = None,
    sparse: str | None = None,
    multi_vector: str | None = None,
    dtype: str = "auto",
) -> dict[str, LegSpec]:
    """Describe the legs that searches of a collection use.

    `dense`, `sparse` and `multi_vector` are the present paths of their models.

    The token vectors of a dense encoder are left out: they serve reranking only.
    """
    kinds: dict[str | None, LegKind] = {"text": "bm25", "vectors": "dense", "weights": "sparse", "tokens": "tokens"}
    searched = searched_legs(collection.manifest)
    models = {"dense": dense, "sparse": sparse, "tokens": multi_vector}
    return {
        name: LegSpec(name, kinds[leg.rows], models.get(kinds[leg.rows]), dtype)
        for name, leg in collection.manifest.legs.items()
        if leg.rows in kinds and name in searched
    }


def _opened(
    collection: Collection, legs: LegRetrievers, name: str, leg: LegSpec, seconds: Mapping[str, float | None]
) -> OpenLeg:
    """Open the leg `name` of a collection under the name of its description."""
    retriever = legs[name]
    retriever.name = leg.name
    recorded, corpus = collection.leg(name), collection.manifest.corpus
    encoder = retriever.encoder
    return OpenLeg(
        name=leg.name,
        kind=leg.kind,
        retriever=retriever,
        collection=collection,
        encoder=encoder,
        exact=kind_of(recorded.backend).is_exact(recorded.rows, recorded.parameters),
        determines={
            "backend": recorded.backend,
            "parameters": dict(recorded.parameters),
            "count": recorded.count,
            "corpus": {key: value for key, value in corpus.items() if key != "description"},
            "documents": _unnamed(recorded.encoder or {}),
            "queries": _unnamed(encoder.identity) if encoder is not None else None,
        },
        index_bytes=recorded.bytes,
        encode_s=seconds.get("encode_s"),
        build_s=seconds.get("build_s"),
    )


def _stamps(collection: Path) -> list[list[Any]]:
    """Return the size and time of the files that every write to a collection changes."""
    files = (collection / name for name in ("manifest.json", "documents.sqlite", "documents.sqlite-wal"))
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats if stat.st_size]


def _seconds(stages: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of a build for encoding, and for the rest."""
    encoding = sum(spent for stage, spent in stages.items() if stage.endswith("encoding"))
    # Encoding and indexing overlap: waiting for indexes is counted there, and the total is the sum of the others.
    indexing = sum(spent for stage, spent in stages.items() if stage not in ("total", "waiting for the indexes"))
    return {"encode_s": round(encoding, 3), "build_s": round(indexing - encoding, 3)}


def _unnamed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without the model's path and revision, which do not decide its results."""
    return {key: value for key, value in identity.items() if key not in ("name", "revision")}
