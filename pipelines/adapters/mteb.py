"""MTEB: a whole pipeline, or a dense encoder alone, as a model that ``mteb.evaluate`` takes (extra ``mteb``)."""

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
from indexing.resources import Closing
from pipelines.adapters.common import missing
from pipelines.build.job import build_collection
from pipelines.search import SearchConfig, SearchPipeline

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
except ModuleNotFoundError as error:
    raise missing(error, "mteb") from error

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder


class PipelineSearch(Closing):
    """A `SearchPipeline` for mteb's retrieval and reranking tasks: it indexes each task's corpus and searches it.

    Collections are built in a temporary folder, one at a time. A reranking task gives the candidates itself: then
    only the reranker reads them, and ``mteb`` scores its order.

    Parameters
    ----------
    bm25, dense, sparse
        The legs, as for `build_collection`.
    config
        How the collection is searched (fusion, reranker, depth …): a `SearchConfig`, a mapping of its form, or a
        YAML file.
    name
        By which mteb keeps the results, ``organisation/model``. The revision is a digest of the encoders and of the
        configuration, so that two pipelines are never taken for each other.
    show_progress
        Progress bars on stderr.
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
        self.bm25, self.dense, self.sparse, self.show_progress = bm25, dense, sparse, show_progress
        if config is None:
            config = SearchConfig()
        self.config = config if isinstance(config, SearchConfig) else SearchConfig.load(config)
        identities = [encoder.identity if encoder is not None else None for encoder in (dense, sparse)]
        self.mteb_model_meta = _meta(name, {"bm25": bm25, "encoders": identities, "search": self.config.as_dict()})
        self._folder: TemporaryDirectory[str] | None = None
        self._pipeline: SearchPipeline | None = None

    def index(self, corpus: Iterable[Mapping[str, Any]], **_: Any) -> None:
        """Build a collection of a task's corpus, rows with ``id``, ``text`` and perhaps ``title``."""
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
        """Answer a task's queries, rows with ``id`` and ``text``: ``{query_id: {doc_id: score}}``."""
        if self._pipeline is None:
            raise InputError("there is nothing to search: call index with a corpus first")
        texts = {str(row["id"]): query_text(row) for row in queries}
        if top_ranked is not None:
            hits = self._rerank(self._pipeline, texts, top_ranked).top(top_k)
        else:
            hits = self._pipeline.retrieve(list(texts.values()), top_k, show_progress=self.show_progress)
        return hits.to_run(list(texts))

    def close(self) -> None:
        """Close and remove the collection that was built last."""
        if self._pipeline is not None:
            self._pipeline.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._pipeline = self._folder = None

    def _rerank(self, pipeline: SearchPipeline, texts: Mapping[str, str], candidates: Mapping[str, list[str]]) -> Hits:
        if pipeline.reranker is None:
            raise InputError(
                "this task gives the candidates and asks for their order: name a reranker in the configuration, "
                "config={'reranker': 'late-interaction'}"
            )
        # Equal scores: whatever part of the first stage's is kept makes no difference.
        given = {query_id: dict.fromkeys(candidates.get(query_id, ()), 0.0) for query_id in texts}
        hits = Hits.from_run(given, list(texts))
        return pipeline.reranker.rerank(list(texts.values()), hits, pipeline.collection.documents)


class EncoderModel(AbsEncoder):
    """A `DenseEncoder` for every mteb task that embeds texts.

    Queries and documents get the encoder's own prompts for them, other texts its default prompt; a task's own
    prompts are not used.

    Parameters
    ----------
    encoder
        The encoder. Its similarity is the one that tasks compare with: cosine or dot product.
    name
        By which mteb keeps the results, ``organisation/model``. The revision is a digest of the weights and of
        everything else in the encoder's identity.

    Raises
    ------
    InputError
        For an encoder with another similarity.
    """

    def __init__(self, encoder: "DenseEncoder", *, name: str = "retrieve-rerank/encoder") -> None:
        if encoder.similarity not in ("cosine", "dot"):
            raise InputError(f"mteb compares by cosine or dot product, and {encoder!r} by {encoder.similarity}")
        self.model, self.encoder = encoder, encoder
        self.mteb_model_meta = _meta(
            name,
            {"encoder": encoder.identity},
            similarity_fn_name=encoder.similarity,
            embed_dim=encoder.dimension,
            max_tokens=encoder.max_length,
        )

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, **_: Any) -> NDArray[Any]:
        """Encode batches with the key ``text``, float32 [texts, dim]."""
        texts = [text for batch in inputs for text in batch["text"]]
        task = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        if task == "query":
            return self.encoder.encode_query(texts)
        return self.encoder.encode_document(texts) if task == "document" else self.encoder.encode(texts)


def query_text(row: Mapping[str, Any]) -> str:
    """Give a query as one text, as mteb does for encoders: a conversation joined, then a space and the instruction."""
    text = row["text"]
    if not isinstance(text, str):
        text = "; ".join(turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text)
    instruction = row.get("instruction")
    return text if instruction is None else f"{text} {instruction}"


def _documents(corpus: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
    return (Document(str(row["id"]), row["text"] or "", row.get("title") or "") for row in corpus)


def _meta(name: str, described: Mapping[str, Any], **known: Any) -> "ModelMeta":
    """Describe a model to mteb; the revision says what it is made of, not where that lies."""
    plain = json.dumps(_without_place(described), sort_keys=True, default=str)
    revision = hashlib.sha256(plain.encode()).hexdigest()[:16]
    empty = ModelMeta.create_empty()
    return ModelMeta(**{**empty.model_dump(), "name": name, "revision": revision, **known})


def _without_place(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_place(inner) for key, inner in value.items() if key not in ("name", "revision")}
    return [_without_place(inner) for inner in value] if isinstance(value, list | tuple) else value
