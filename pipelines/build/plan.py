"""Plan of a build: its legs, indexes and encoders; and checks whether a collection already has them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from indexing.collection.identity import differences
from indexing.collection.leg_parameters import OF_ROWS, agrees, with_parameters
from indexing.collection.legs import DocumentEncoder
from indexing.collection.manifest import Leg, Manifest, read_manifest
from indexing.corpora.corpus import Corpus
from indexing.documents import Document
from indexing.errors import StorageError
from indexing.filters import check_fields
from indexing.indexes.registry import Backend, kind_of
from indexing.inputs import local_path
from retrieve.protocols import check_encoder, similarity_name

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.encoders.dense_tokens import DenseTokens

DenseIndex: TypeAlias = Literal["flat", "hnsw", "ivf", "pq", "sq", "binary", "int8", "qdrant"]
SparseIndex: TypeAlias = Literal["impact", "postings", "qdrant"]
TokenIndexName: TypeAlias = Literal["tokens", "qdrant"]
Bm25IndexName: TypeAlias = Literal["bm25", "qdrant"]


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """An index with parameters, for more choice than its name alone.

    Parameters
    ----------
    backend
        ``"faiss"`` or ``"qdrant"`` for vectors, ``"impact"``, ``"postings"`` or ``"qdrant"`` for term weights,
        ``"tokens"`` or ``"qdrant"`` for token vectors, ``"bm25"`` (Lucene) or ``"qdrant"`` for words.
    parameters
        For ``faiss`` those of `FaissSettings`, including ``kind``; for ``impact`` ``scale``; for ``qdrant`` those of
        `QdrantSettings`, and ``server`` with those of `QdrantServer` without the API key, which is read from
        ``QDRANT_API_KEY`` (without ``collection``, a new name is chosen).
    """

    backend: Backend
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Legs to build, with their encoders.

    Parameters
    ----------
    legs
        Backend, encoder identity and parameters by name.
    encoders
        The encoder of each leg that needs one.
    vocabularies
        The term of each column, for each leg of term weights.
    fields
        The metadata fields to filter by, with their types.
    """

    legs: Mapping[str, Leg]
    encoders: Mapping[str, DocumentEncoder] = field(default_factory=dict)
    vocabularies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


def make_plan(
    *,
    bm25: bool = True,
    dense: "DenseEncoder | None" = None,
    sparse: "SparseEncoder | None" = None,
    multi_vector: "MultiVectorEncoder | DenseTokens | None" = None,
    dense_index: DenseIndex | IndexChoice = "flat",
    sparse_index: SparseIndex | IndexChoice = "impact",
    token_index: TokenIndexName | IndexChoice = "tokens",
    bm25_index: Bm25IndexName | IndexChoice = "bm25",
    token_parameters: Mapping[str, Any] | None = None,
    bm25_fields: Mapping[str, float] | None = None,
    bm25_parameters: Mapping[str, Any] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Plan:
    """Return the plan of the legs that `build_collection` builds; parameters and errors as there."""
    legs: dict[str, Leg] = {}
    encoders: dict[str, DocumentEncoder] = {}
    vocabularies: dict[str, Sequence[str]] = {}
    if bm25:
        parameters = dict(bm25_parameters or {}) | ({"weights": dict(bm25_fields)} if bm25_fields else {})
        chosen = IndexChoice(bm25_index) if isinstance(bm25_index, str) else bm25_index
        legs["bm25"] = with_parameters(Leg("bm25"), "bm25", chosen.backend, {**chosen.parameters, **parameters})
    if dense is not None:
        check_encoder(dense, "dense", "dense")
        metric = "dot" if similarity_name(dense) == "dot" else "cosine"
        rows = Leg("faiss", dense.identity, {"dimension": dense.dimension, "metric": metric})
        chosen = _dense_choice(dense_index)
        legs["dense"] = with_parameters(rows, "dense", chosen.backend, chosen.parameters)
        encoders["dense"] = dense
    if sparse is not None:
        check_encoder(sparse, "sparse", "sparse")
        chosen = sparse_index if isinstance(sparse_index, IndexChoice) else IndexChoice(sparse_index)
        legs["sparse"] = with_parameters(Leg("impact", sparse.identity), "sparse", chosen.backend, chosen.parameters)
        encoders["sparse"], vocabularies["sparse"] = sparse, sparse.vocabulary
    if multi_vector is not None:
        described = {"dimension": multi_vector.dimension, "metric": similarity_name(multi_vector)}
        rows = Leg("tokens", multi_vector.identity, described)
        chosen = IndexChoice(token_index) if isinstance(token_index, str) else token_index
        given = {**chosen.parameters, **(token_parameters or {})}
        legs["tokens"] = with_parameters(rows, "tokens", chosen.backend, given)
        encoders["tokens"] = multi_vector
    return Plan(legs, encoders, vocabularies, check_fields(fields or {}))


def is_built(path: str | Path, corpus: Iterable[Document], **wanted: Any) -> bool:
    """Return whether a collection of this corpus exists at `path` and has all legs and fields of a plan.

    Parameters
    ----------
    path, corpus
        As for `build_collection`.
    **wanted
        As for `make_plan`. Index parameters that it leaves open may have any value.
    """
    try:
        manifest = read_manifest(local_path(path, "path"))
    except StorageError:
        return False
    return _holds(manifest, corpus) and _fits(manifest, make_plan(**wanted))


def fits(path: str | Path, plan: Plan) -> bool:
    """Return whether the collection at `path` has all legs and fields of a plan, whatever its documents."""
    return _fits(read_manifest(Path(path)), plan)


def _fits(manifest: Manifest, plan: Plan) -> bool:
    legs = plan.legs.items()
    serves = all(name in manifest.legs and _serves(manifest.legs[name], leg) for name, leg in legs)
    return serves and dict(plan.fields).items() <= dict(manifest.fields).items()


def may_be_built(path: str | Path, corpus: Iterable[Document], legs: Iterable[str], fields: Mapping[str, str]) -> bool:
    """Return whether `is_built` may be true for these names of legs and these fields, without loading an encoder."""
    try:
        manifest = read_manifest(local_path(path, "path"))
    except StorageError:
        return False
    fitting = set(legs) <= manifest.legs.keys() and fields.items() <= dict(manifest.fields).items()
    return fitting and _holds(manifest, corpus)


def _holds(manifest: Manifest, corpus: Iterable[Document]) -> bool:
    """Return whether a collection holds exactly the documents of this corpus."""
    return (
        isinstance(corpus, Corpus)
        and manifest.corpus.get("fingerprint") == corpus.fingerprint()
        and _reads_alike(manifest.corpus.get("reading") or {}, corpus.reading())
        and not (manifest.corpus.get("skipped") and corpus.on_error == "raise")
    )


def can_resume(stored: Mapping[str, Leg], plan: Plan) -> bool:
    """Return whether an interrupted build can be resumed, with a result identical to a new build of the plan."""
    if stored.keys() != plan.legs.keys():
        return False
    for name, leg in plan.legs.items():
        ours = json.loads(json.dumps({"encoder": dict(leg.encoder or {}), "parameters": dict(leg.parameters)}))
        theirs = dict(stored[name].encoder or {})
        if (
            not agrees(stored[name], Leg(leg.backend, parameters=ours["parameters"]))
            or stored[name].parameters.keys() - OF_ROWS - leg.parameters.keys()
            or differences(theirs, ours["encoder"])
            or theirs.get("dtype") != ours["encoder"].get("dtype")
        ):
            return False
    return True


def corpus_record(corpus: Iterable[Document]) -> dict[str, Any]:
    """Return a corpus's description and, if it is a `Corpus`, the fingerprint of its bytes and how it is read."""
    if not isinstance(corpus, Corpus):
        return {"description": corpus_description(corpus), "fingerprint": None}
    return {"description": corpus.description, "fingerprint": corpus.fingerprint(), "reading": corpus.reading()}


def corpus_description(corpus: Iterable[Document]) -> str:
    """Return a short description of where documents come from."""
    return corpus.description if isinstance(corpus, Corpus) else type(corpus).__name__


def left_out(corpus: Iterable[Document]) -> tuple[int, int]:
    """Return how many records the last pass over a corpus skipped, and how many had a repeated id."""
    return (corpus.skipped, corpus.duplicates) if isinstance(corpus, Corpus) else (0, 0)


def _dense_choice(index: DenseIndex | IndexChoice) -> IndexChoice:
    if not isinstance(index, IndexChoice):
        return IndexChoice("qdrant") if index == "qdrant" else IndexChoice("faiss", {"kind": index})
    return IndexChoice(index.backend, {**kind_of(index.backend).defaults, **index.parameters})


def _serves(leg: Leg, wanted: Leg) -> bool:
    """Return whether an existing leg can serve as the wanted one."""
    # One field or two give different scores, so weights that are not wanted must not be there either.
    same_fields = (leg.parameters.get("weights") or {}) == (wanted.parameters.get("weights") or {})
    return same_fields and agrees(leg, wanted) and not differences(leg.encoder or {}, wanted.encoder or {})


def _reads_alike(stored: Mapping[str, Any], reading: Mapping[str, Any]) -> bool:
    """Return whether two ways of reading yield the same documents."""
    # A corpus that was read without on_duplicate has no repeated ids, so any choice yields the same documents.
    ignored = {} if "on_duplicate" in stored else {"on_duplicate": None}
    return {**stored, **ignored} == {**reading, **ignored}
