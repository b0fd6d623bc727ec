"""Layout: the description of a deployed collection, which is stored with it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, Self

from indexing.collection.manifest import Leg, Manifest
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, check_fields
from indexing.indexes.bm25_weights import COLUMNS, DEFAULT_ANALYZER
from indexing.indexes.qdrant.settings import QdrantSettings, Schema
from indexing.indexes.qdrant.text_index import EngineText, is_engine_analyzer

FORMAT = 1
_GRAPH = ("m", "ef_construction", "ef_search")


@dataclass(frozen=True, slots=True)
class Layout:
    """Description of a deployed collection.

    Parameters
    ----------
    legs
        The legs by name; each is one named vector of the points.
    fields
        The metadata fields to filter by, with their types.
    corpus
        Description of the corpus, from the manifest.
    source
        The collection that was deployed.
    tenant
        The field that names a document's tenant.
    sharded
        Each tenant has shards of its own.
    journal
        The journal of the collection, as `DocumentStore.journal`; 0 if that is unknown.
    search
        The collection's configuration of searches.
    sequence
        The last write of the collection's journal that is deployed.
    documents
        Number of documents then.
    state
        ``building`` until all is deployed and checked.
    """

    legs: Mapping[str, Leg]
    fields: Fields
    corpus: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    tenant: str | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    sequence: int = 0
    documents: int = 0
    state: Literal["building", "ready"] = "building"
    sharded: bool = False
    journal: int = 0

    @property
    def schema(self) -> Schema:
        """The points."""
        legs = {name: next(iter(leg_settings(leg).schema.vectors.values())) for name, leg in self.legs.items()}
        return Schema(legs, self.tenant, self.sharded)

    @property
    def signature(self) -> str:
        """Digest of all but the progress: a deployment of another signature must be built anew."""
        content = {name: value for name, value in self.stored.items() if name not in ("sequence", "documents", "state")}
        return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()

    @property
    def manifest(self) -> Manifest:
        """The description as a manifest of a collection."""
        return Manifest(self.documents, dict(self.corpus), dict(self.legs), dict(self.fields))

    @property
    def stored(self) -> dict[str, Any]:
        """The description as plain values."""
        kept = ("backend", "encoder", "parameters")
        legs = {name: {key: asdict(leg)[key] for key in kept} for name, leg in self.legs.items()}
        plain = {
            "format": FORMAT,
            "legs": legs,
            "fields": dict(self.fields),
            "corpus": dict(self.corpus),
            "source": self.source,
            "tenant": self.tenant,
            "search": dict(self.search),
            "sequence": self.sequence,
            "documents": self.documents,
            "state": self.state,
        }
        if self.sharded:
            plain["sharded"] = True  # earlier versions do not know it
        if self.journal:
            plain["journal"] = self.journal
        return dict(json.loads(json.dumps(plain)))

    @classmethod
    def of(cls, stored: Any, where: str) -> Self:
        """Return the description that `stored` wrote; raise `StorageError` for anything else."""
        try:
            if stored["format"] != FORMAT:
                raise StorageError(f"{where} has format {stored['format']!s:.20}, this version reads {FORMAT}")
            content = {name: value for name, value in stored.items() if name != "format"}
            legs = {name: Leg(**leg) for name, leg in content.pop("legs").items()}
            return cls(legs=legs, fields=check_fields(content.pop("fields")), **content)
        except (TypeError, KeyError, ValueError) as error:
            raise StorageError(f"{where} is no deployed collection ({error!r:.200}): deploy it again") from error


def leg_settings(leg: Leg) -> QdrantSettings:
    """Return the settings of a deployed leg's vectors."""
    parameters, on_disk = leg.parameters, bool(leg.parameters.get("on_disk"))
    if leg.rows == "text" and is_engine_analyzer(parameters["analyzer"]):
        text = EngineText(**{name: parameters[name] for name in ("analyzer", "k1", "b")})
        return QdrantSettings(text=text, on_disk=on_disk)
    if leg.rows == "text":
        return QdrantSettings(vocabulary=COLUMNS, idf=True, on_disk=on_disk)
    if leg.rows == "weights":
        return QdrantSettings(vocabulary=int(parameters["columns"]), on_disk=on_disk)
    more = {name: parameters[name] for name in (*_GRAPH, "quantization") if parameters.get(name) is not None}
    return QdrantSettings(int(parameters["dimension"]), metric=parameters["metric"], on_disk=on_disk, **more)


def needs_mean_length(leg: Leg) -> bool:
    """Return whether a leg is deployed as weights that hold for one mean length of the documents."""
    return leg.rows == "text" and not is_engine_analyzer(leg.parameters.get("analyzer"))


def deployed_leg(name: str, leg: Leg, *, mean_length: float, quantization: str | None, on_disk: bool) -> Leg:
    """Return the entry of a leg as it is deployed.

    Parameters
    ----------
    mean_length
        Of the documents of a leg of texts, in words.
    quantization, on_disk
        As in `QdrantSettings`; quantisation for dense vectors.

    Raises
    ------
    InputError
        For a leg of texts that is scored by anything but BM25 over one field.
    """
    given = leg.parameters
    if leg.rows == "text":
        lost = next((key for key in ("weights", "similarity") if given.get(key)), None)
        if lost is not None:
            raise InputError(
                f"the leg {name!r} scores by {lost!r}, which Qdrant cannot: deploy the other legs (--legs), or build "
                "a leg of plain BM25"
            )
        parameters: dict[str, Any] = {
            "analyzer": given.get("analyzer", DEFAULT_ANALYZER),
            "k1": float(given.get("k1", 0.9)),
            "b": float(given.get("b", 0.4)),
            "mean_length": mean_length,
        }
    elif leg.rows == "weights":
        parameters = {"columns": given["columns"], "vocabulary_sha256": given.get("vocabulary_sha256", "")}
    else:
        tokens = leg.rows == "tokens"
        parameters = {"dimension": given["dimension"], "metric": given.get("metric", "maxsim" if tokens else "cosine")}
        if tokens:
            parameters["m"] = 0
        else:
            parameters |= {key: given[key] for key in _GRAPH if given.get(key)}
            parameters |= {} if quantization is None else {"quantization": quantization}
    if on_disk:
        parameters["on_disk"] = True
    return replace(leg, backend="qdrant", parameters=parameters, folder="", files={}, count=0, sequence=0, bytes=0)
