"""MTEB: a search pipeline or a dense encoder as a model for ``mteb.evaluate`` (extra ``mteb``)."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hits, Run
from indexing.inputs import listed, shown, text
from indexing.resources import Closing
from pipelines.adapters.common import missing
from pipelines.build.job import build_collection
from pipelines.search import SearchConfig, SearchPipeline
from retrieve.protocols import check_encoder

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
except ModuleNotFoundError as error:
    raise missing(error, "mteb") from error

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder


class PipelineSearch(Closing):
    """A `SearchPipeline` for mteb's retrieval and reranking tasks, which indexes and searches each task's corpus.

    Collections are built in a temporary folder, one at a time. In a reranking task, which has its own candidates, only
    the reranker runs.

    Parameters
    ----------
    bm25, dense, sparse
        The legs, as for `build_collection`.
    config
        Configuration of the search (fusion, reranker, depth …): a `SearchConfig`, a mapping for it, or the path of a
        YAML file.
    name
        Name under which mteb stores the results, ``organisation/model``. The revision is a digest of the encoders and
        the configuration, so that results of different pipelines are never mixed.
    show_progress
        Show progress bars on stderr.
    """

    def __init__(
        self,
        *,
        bm25: bool = True,
        dense: "DenseEncoder | None" = None,
        sparse: "SparseEncoder | None" = None,
        config: SearchConfig | Mapping[str, Any] | str | Path | None = None,
        name: str = "retrieve-rerank/pipeline",
        show_progress: bool = False,
    ) -> None:
        for kind, encoder in (("dense", dense), ("sparse", sparse)):
            if encoder is not None:
                check_encoder(encoder, kind, kind)
        self.bm25, self.dense, self.sparse, self.show_progress = bm25, dense, sparse, show_progress
        if config is None:
            config = SearchConfig()
        self.config = config if isinstance(config, SearchConfig) else SearchConfig.load(config)
        identities = [encoder.identity if encoder is not None else None for encoder in (dense, sparse)]
        self.mteb_model_meta = _meta(name, {"bm25": bm25, "encoders": identities, "search": self.config.as_dict()})
        self._folder: TemporaryDirectory[str] | None = None
        self._pipeline: SearchPipeline | None = None

    def index(self, corpus: Iterable[Mapping[str, Any]], **_: Any) -> None:
        """Build a collection of a task's corpus, rows with ``id``, ``text`` and optionally ``title``."""
        self.close()
        self._folder = TemporaryDirectory(prefix="mteb-")
        path = Path(self._folder.name) / "collection"
        build_collection(
            _documents(corpus),
            path,
            bm25=self.bm25,
            dense=self.dense,
            sparse=self.sparse,
            show_progress=self.show_progress,
        )
        self._pipeline = SearchPipeline.open(path, config=self.config, dense=self.dense, sparse=self.sparse)

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, list[str]] | None = None,
        **_: Any,
    ) -> Run:
        """Search for a task's queries, rows with ``id`` and ``text``; return ``{query_id: {doc_id: score}}``."""
        if self._pipeline is None:
            raise InputError("there is no collection to search: call index with a corpus first")
        texts = {str(row["id"]): query_text(row) for row in _rows(queries, "queries")}
        if top_ranked is not None:
            hits = self._rerank(self._pipeline, texts, top_ranked).top(top_k)
        else:
            hits = self._pipeline.retrieve(list(texts.values()), top_k, show_progress=self.show_progress)
        return hits.to_run(list(texts))

    def close(self) -> None:
        """Close and delete the current collection."""
        if self._pipeline is not None:
            self._pipeline.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._pipeline = self._folder = None

    def _rerank(self, pipeline: SearchPipeline, texts: Mapping[str, str], candidates: Mapping[str, list[str]]) -> Hits:
        if pipeline.reranker is None:
            raise InputError(
                "this task reranks given candidates: name a reranker in the configuration, "
                "config={'reranker': 'late-interaction'}"
            )
        # With equal first-stage scores, their weight makes no difference.
        run = {query_id: dict.fromkeys(candidates.get(query_id, ()), 0.0) for query_id in texts}
        hits = Hits.from_run(run, list(texts))
        return pipeline.reranker.rerank(list(texts.values()), hits, pipeline.collection.documents)


class EncoderModel(AbsEncoder):
    """A `DenseEncoder` for all mteb tasks that embed texts.

    Queries and documents have the encoder's prompts for them, other texts its default prompt; prompts of the task are
    not used.

    Parameters
    ----------
    encoder
        The encoder; its similarity, which must be cosine or dot product, compares the vectors.
    name
        Name under which mteb stores the results, ``organisation/model``. The revision is a digest of the encoder's
        identity, which includes its weights.

    Raises
    ------
    InputError
        For an encoder with another similarity.
    """

    def __init__(self, encoder: "DenseEncoder", *, name: str = "retrieve-rerank/encoder") -> None:
        check_encoder(encoder, "encoder", "dense")
        if encoder.similarity_fn_name not in ("cosine", "dot"):
            raise InputError(f"mteb compares by cosine or dot product, but {encoder!r} by {encoder.similarity_fn_name}")
        self.model, self.encoder = encoder, encoder
        self.mteb_model_meta = _meta(
            name,
            {"encoder": encoder.identity},
            similarity_fn_name=encoder.similarity_fn_name,
            embed_dim=encoder.dimension,
            max_tokens=encoder.max_length,
        )

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, **_: Any) -> NDArray[Any]:
        """Encode batches with the key ``text``, float32 [texts, dim]."""
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == "query":
            return self.encoder.encode_query(texts)
        return self.encoder.encode_document(texts) if prompt_type == "document" else self.encoder.encode(texts)


def query_text(row: Mapping[str, Any]) -> str:
    """Return a query as one text as mteb does for encoders: a conversation joined, then a space and the instruction."""
    asked = row["text"]
    if not isinstance(asked, str):
        try:
            asked = "; ".join(turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in asked)
        except (TypeError, KeyError):
            raise InputError(f"a query's text must be a string or a conversation, not {shown(asked)}") from None
    instruction = row.get("instruction")
    return asked if instruction is None else f"{asked} {instruction}"


def _documents(corpus: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
    rows = _rows(corpus, "corpus")
    return (Document(str(row["id"]), row["text"] or "", row.get("title") or "") for row in rows)


def _rows(rows: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a task's table; check that each has an id and a text."""
    for place, row in enumerate(listed(rows, name, "rows")):
        if not isinstance(row, Mapping) or row.get("id") is None or "text" not in row:
            raise InputError(f"{name}: row {place} (from 0) must have 'id' and 'text', as in mteb, and is {shown(row)}")
        yield row


def _meta(name: str, identity: Mapping[str, Any], **fields: Any) -> "ModelMeta":
    """Return mteb's description of a model; the revision depends on the weights and settings, not on their path."""
    if text(name, "name").count("/") != 1 or not all(name.split("/")):
        raise InputError(f"name must be of the form organisation/model, not {name!r}")
    written = json.dumps(_without_names(identity), sort_keys=True, default=str)
    revision = hashlib.sha256(written.encode()).hexdigest()[:16]
    empty = ModelMeta.create_empty()
    return ModelMeta(**{**empty.model_dump(), "name": name, "revision": revision, **fields})


def _without_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_names(inner) for key, inner in value.items() if key not in ("name", "revision")}
    return [_without_names(inner) for inner in value] if isinstance(value, list | tuple) else value
