"""Legs ready to be searched: models loaded once, indexes built once and kept, each leg opened by itself."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from indexing.errors import InputError, ModelError
from pipelines.build.job import build_collection
from pipelines.build.plan import corpus_record, is_built
from pipelines.evaluation.result_cache import keep, kept, key_of
from pipelines.evaluation.systems import LATE_INTERACTION, LegKind, LegSpec, SystemSpec
from pipelines.search import SearchPipeline

if TYPE_CHECKING:
    from indexing.collection.reader import Collection
    from indexing.corpora.corpus import Corpus
    from indexing.hits import Hits
    from retrieve.reranking.base import CandidateReranker

QUERIES_AT_ONCE = 1024

Say = Callable[[str], object]
"""Takes a line for whoever watches."""


class Models:
    """Encoders and rerankers, each loaded when it is first needed and then shared.

    Parameters
    ----------
    dtype
        Of rerankers; a leg says its own.
    """

    def __init__(self, *, dtype: str = "auto") -> None:
        self.dtype = dtype
        self._loaded: dict[tuple[str, ...], Any] = {}

    def encoder(self, leg: LegSpec) -> Any:
        """Give a leg's encoder; None for BM25.

        Raises
        ------
        ModelError
            When it cannot be found, or a sparse leg names none.
        """
        from retrieve.default_models import default_dense_model
        from retrieve.encoders import DenseEncoder, SparseEncoder

        if leg.kind == "bm25":
            return None
        if leg.kind == "sparse":
            if leg.model is None:
                raise ModelError("no --sparse model was given")
            return self._once(SparseEncoder, leg.model, leg.dtype)
        return self._once(DenseEncoder, leg.model or default_dense_model(), leg.dtype)

    def reranker(self, system: SystemSpec, legs: Mapping[str, "OpenLeg"]) -> "CandidateReranker | None":
        """Give a system's reranker, a new one for each system, so that none profits from another's cache.

        Raises
        ------
        InputError
            When late interaction is asked for and no leg of the system is dense.
        """
        weight: dict[str, Any] = {} if system.reranker_weight is None else {"weight": system.reranker_weight}
        if system.reranker is None:
            return None
        if system.reranker == LATE_INTERACTION:
            from retrieve.reranking.late_interaction import LateInteractionReranker

            encoder = next((legs[name].encoder for name in system.legs if legs[name].kind == "dense"), None)
            if encoder is None:
                raise InputError(f"system {system.name!r}: late interaction needs a dense leg, or name a reranker")
            return LateInteractionReranker(encoder, **weight)
        from retrieve.encoders import CrossEncoder
        from retrieve.reranking.cross_encoder import Reranker

        return Reranker(self._once(CrossEncoder, system.reranker, self.dtype), **weight)

    def reranker_identity(self, system: SystemSpec) -> Any:
        """Say what decides a reranker's scores; None where the legs say it already."""
        if system.reranker in (None, LATE_INTERACTION):
            return system.reranker
        from retrieve.encoders import CrossEncoder

        return _unnamed(self._once(CrossEncoder, system.reranker, self.dtype).identity)

    def _once(self, kind: type, model: Any, dtype: str) -> Any:
        key = (kind.__name__, str(model), dtype)
        if key not in self._loaded:
            self._loaded[key] = kind(model, dtype=dtype)
        return self._loaded[key]


@dataclass(frozen=True, slots=True)
class OpenLeg:
    """A leg of one collection, ready to be searched.

    Parameters
    ----------
    name, kind
        As in its `LegSpec`.
    pipeline
        It alone, over its collection.
    encoder
        Of a dense or sparse leg.
    exact
        Whether a deeper search begins with the hits of a shallower one.
    determines
        What decides its answers, as JSON values.
    index_bytes
        On disk.
    encode_s, build_s
        Seconds to encode and to index the corpus; None when it was built elsewhere.
    """

    name: str
    kind: str
    pipeline: SearchPipeline
    encoder: Any
    exact: bool
    determines: Mapping[str, Any]
    index_bytes: int
    encode_s: float | None = None
    build_s: float | None = None

    @property
    def encoder_record(self) -> dict[str, Any] | None:
        """Which encoder the queries were encoded with: its name, weights and precision; None for BM25."""
        if self.encoder is None:
            return None
        identity = self.encoder.identity
        return {key: identity[key] for key in ("name", "revision", "weights_sha256", "dtype", "max_length")}

    def search(self, queries: list[str], depth: int, *, show_progress: bool = False) -> "Hits":
        """Find the best `depth` of every query, in blocks."""
        from tqdm import tqdm

        from indexing.hits import Hits

        parts = []
        with tqdm(total=len(queries), desc=f"searching {self.name}", unit="query", disable=not show_progress) as bar:
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                block = queries[start : start + QUERIES_AT_ONCE]
                parts.append(self.pipeline.retriever.search(block, depth))
                bar.update(len(block))
        return Hits.concatenate(parts)


class LegSource(Protocol):
    """Where a dataset's legs come from."""

    def open(self, leg: LegSpec) -> OpenLeg:
        """Give a leg, built if need be; the same object each time."""
        ...

    def close(self) -> None:
        """Close all legs."""
        ...


class BuiltLegs:
    """Legs built from a corpus, each a collection of its own: one more leg costs nothing but itself.

    Parameters
    ----------
    corpus
        The documents.
    folder
        Where the collections are and stay, ``<folder>/<leg>``.
    state
        Where the seconds of their builds are kept.
    models
        The encoders.
    """

    def __init__(
        self, corpus: "Corpus", folder: Path, state: Path, models: Models, *, say: Say, show_progress: bool = True
    ) -> None:
        self.corpus, self.folder, self.state, self.models = corpus, folder, state, models
        self.say, self.show_progress = say, show_progress
        self._open: dict[str, OpenLeg] = {}
        self._opened = ExitStack()

    def open(self, leg: LegSpec) -> OpenLeg:
        """As `LegSource.open`."""
        if leg.name not in self._open:
            encoder = self.models.encoder(leg)
            seconds = self._build(leg, encoder)
            directory = self.folder / leg.name
            self._open[leg.name] = _opened(self._opened, directory, leg.kind, leg, encoder, seconds)
        return self._open[leg.name]

    def close(self) -> None:
        """As `LegSource.close`."""
        self._open.clear()
        self._opened.close()

    def _build(self, leg: LegSpec, encoder: Any) -> Mapping[str, float | None]:
        directory, record = self.folder / leg.name, self.state / f"build-{leg.name}.json"
        wanted: dict[str, Any] = {
            "bm25": leg.kind == "bm25",
            "dense": encoder if leg.kind == "dense" else None,
            "sparse": encoder if leg.kind == "sparse" else None,
            "dense_index": leg.index,
            "bm25_fields": leg.fields,
        }
        identity = {**corpus_record(self.corpus), **asdict(leg), "dtype": str(getattr(encoder, "dtype", None))}
        key = key_of({**identity, "encoder": _unnamed(encoder.identity) if encoder else None})
        seconds = kept(record, key)
        # One precision's vectors are not another's, though both may be searched with either.
        if is_built(directory, self.corpus, **wanted) and (seconds is not None or not record.exists()):
            self.say(f"{leg.name}: using the collection in {directory}")
            return seconds or {}
        report = build_collection(self.corpus, directory, **wanted, overwrite=True, show_progress=self.show_progress)
        self.say(str(report))
        seconds = _seconds(report.seconds)
        keep(record, key, seconds)
        return seconds


class CollectionLegs:
    """The legs of a collection that somebody built."""

    def __init__(self, directory: str | Path, models: Models) -> None:
        self.directory, self.models = Path(directory), models
        self._open: dict[str, OpenLeg] = {}
        self._opened = ExitStack()

    def open(self, leg: LegSpec) -> OpenLeg:
        """As `LegSource.open`; a leg that names no model is searched with the one the collection records."""
        if leg.name not in self._open:
            encoder = self.models.encoder(leg) if leg.model is not None else None
            found = _opened(self._opened, self.directory, leg.name, leg, encoder, {})
            # Somebody may change its documents at any time, and no fingerprint of a corpus would say so.
            self._open[leg.name] = replace(found, determines={**found.determines, "files": _stamps(self.directory)})
        return self._open[leg.name]

    def close(self) -> None:
        """As `LegSource.close`."""
        self._open.clear()
        self._opened.close()


def specs_of(
    collection: "Collection", *, dense: str | None = None, sparse: str | None = None, dtype: str = "auto"
) -> dict[str, LegSpec]:
    """Describe the legs that a collection has; `dense` and `sparse` say where their models are now."""
    kinds: dict[str | None, LegKind] = {"text": "bm25", "vectors": "dense", "weights": "sparse"}
    models = {"dense": dense, "sparse": sparse}
    return {
        name: LegSpec(name, kinds[leg.rows], models.get(kinds[leg.rows]), dtype)
        for name, leg in collection.manifest.legs.items()
    }


def _opened(
    stack: ExitStack, directory: Path, there: str, leg: LegSpec, encoder: Any, seconds: Mapping[str, float | None]
) -> OpenLeg:
    given = {leg.kind: encoder} if leg.kind != "bm25" and encoder is not None else {}
    pipeline = stack.enter_context(SearchPipeline.open(directory, legs=[there], **given))
    pipeline.retriever.name = leg.name
    encoder = getattr(pipeline.retriever, "encoder", None)
    recorded = pipeline.collection.leg(there)
    manifest = pipeline.collection.manifest
    return OpenLeg(
        name=leg.name,
        kind=leg.kind,
        pipeline=pipeline,
        encoder=encoder,
        exact=recorded.parameters.get("kind", "flat") == "flat",
        determines={
            "backend": recorded.backend,
            "parameters": dict(recorded.parameters),
            "count": recorded.count,
            "corpus": {key: value for key, value in manifest.corpus.items() if key != "description"},
            "documents": _unnamed(recorded.encoder or {}),
            "queries": _unnamed(encoder.identity) if encoder is not None else None,
        },
        index_bytes=recorded.bytes,
        encode_s=seconds.get("encode_s"),
        build_s=seconds.get("build_s"),
    )


def _stamps(collection: Path) -> list[list[Any]]:
    """Say when a collection was last written: size and time of the files that every write touches."""
    files = (collection / name for name in ("manifest.json", "documents.sqlite", "documents.sqlite-wal"))
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats if stat.st_size]


def _seconds(stages: Mapping[str, float]) -> dict[str, float]:
    """Divide a build's stages into encoding and the rest."""
    encoding = sum(spent for stage, spent in stages.items() if stage.endswith("encoding"))
    # Encoding and indexing go on at the same time: waiting is another stage's work, and the total is no stage.
    indexing = sum(spent for stage, spent in stages.items() if stage not in ("total", "waiting for the indexes"))
    return {"encode_s": round(encoding, 3), "build_s": round(indexing - encoding, 3)}


def _unnamed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where a model lies, which decides nothing."""
    return {key: value for key, value in identity.items() if key not in ("name", "revision")}
