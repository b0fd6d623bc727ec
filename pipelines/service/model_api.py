"""Routes of models, as clients of OpenAI, Cohere, Jina and text-embeddings-inference call them."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.service.endpoint import Call, Endpoint
from pipelines.service.errors import ServiceError
from pipelines.service.served_models import EncodeOptions, Kind, ServedModel

_TEXT = {"type": "string", "minLength": 1}
TEXTS: Mapping[str, Any] = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
"""JSON schema of a text or a list of texts."""
DOCUMENTS: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        ]
    },
}
"""JSON schema of documents to rerank."""

RERANKERS: tuple[Kind, ...] = ("cross-encoder", "late-interaction")

Direction = Literal["Right", "Left", "right", "left"]


@dataclass(frozen=True, slots=True)
class OpenAiEmbeddings:
    """Texts to embed, as OpenAI's clients send them.

    Parameters
    ----------
    input
        A text, or a list of texts.
    model
        A name that ``GET /v1/models`` lists.
    encoding_format
        ``float``, or ``base64`` of little-endian float32.
    dimensions
        Keep only the first ones, scaled to unit length.
    user
        Ignored.
    input_type
        ``query`` or ``document``: selects the model's prompt; by default none. An addition to OpenAI's fields.
    """

    input: Any = field(metadata={"is": "a text or a list of texts", "schema": TEXTS})
    model: str = field(metadata={"is": "a name that GET /v1/models lists"})
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = field(default=None, metadata={"min": 1})
    user: str | None = None
    input_type: Literal["query", "document"] | None = None


@dataclass(frozen=True, slots=True)
class CohereRerank:
    """Documents to rerank, as Cohere's clients send them.

    Parameters
    ----------
    query, documents
        Texts.
    model
        A reranker that ``GET /v1/models`` lists.
    top_n
        Number of best documents to return; all by default.
    max_tokens_per_doc, priority
        Accepted; the model's own length applies, and requests are served in their order.
    """

    query: str = field(metadata={"is": "the text to compare with"})
    documents: tuple[str, ...] = field(metadata={"is": "a list of texts"})
    model: str | None = None
    top_n: int | None = field(default=None, metadata={"min": 1})
    max_tokens_per_doc: int | None = field(default=None, metadata={"min": 1})
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Rerank:
    """Texts to rerank: ``documents`` as Jina and vLLM name them, or ``texts`` as text-embeddings-inference does.

    Parameters
    ----------
    query
        The text to compare with.
    documents
        Texts, or objects with ``text``.
    texts
        Texts; the answer is then a list of indices and scores.
    model, top_n
        As for Cohere.
    return_documents, return_text
        Repeat the texts in the answer.
    raw_scores
        Scores of the model instead of numbers from 0 to 1.
    truncate
        Whether texts that are too long are cut or refused.
    truncation_direction
        ``Right`` only.
    """

    query: str = field(metadata={"is": "the text to compare with"})
    documents: Any = field(default=None, metadata={"schema": DOCUMENTS})
    texts: tuple[str, ...] | None = None
    model: str | None = None
    top_n: int | None = field(default=None, metadata={"min": 0})
    return_documents: bool | None = None
    return_text: bool = False
    raw_scores: bool = False
    truncate: bool | None = None
    truncation_direction: Direction = "Right"


@dataclass(frozen=True, slots=True)
class TeiEmbed:
    """Texts to embed, as text-embeddings-inference takes them.

    Parameters
    ----------
    inputs
        A text, or a list of texts.
    truncate
        Whether texts that are too long are cut or refused.
    truncation_direction
        ``Right`` only.
    prompt_name
        Name of one of the model's prompts.
    normalize
        Scale vectors to unit length.
    dimensions
        Keep only the first ones.
    """

    inputs: Any = field(metadata={"is": "a text or a list of texts", "schema": TEXTS})
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None
    normalize: bool | None = None
    dimensions: int | None = field(default=None, metadata={"min": 1})


@dataclass(frozen=True, slots=True)
class TeiSentences:
    """A sentence and those to compare with it."""

    source_sentence: str = field(metadata={"is": "a text"})
    sentences: tuple[str, ...] = field(metadata={"is": "a list of texts"})


@dataclass(frozen=True, slots=True)
class TeiSimilarity:
    """Sentences to compare, as text-embeddings-inference takes them."""

    inputs: TeiSentences = field(metadata={"is": "source_sentence and sentences"})
    parameters: Any = None


async def openai_embeddings(call: Call) -> Any:
    """Embed texts."""
    body = call.body
    model = call.service.served_models.find(body.model, "dense")
    texts = _texts(call, body.input, "input")
    options = EncodeOptions(body.input_type, None, body.dimensions is not None, _dimensions(model, body.dimensions))
    vectors, tokens = await _encode(call, model, texts, options)
    rows = vectors.tolist() if body.encoding_format == "float" else [_base64(vector) for vector in vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)],
        "model": model.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


async def openai_models(call: Call) -> Any:
    """List the models."""
    listed = [
        {"id": model.name, "object": "model", "created": 0, "owned_by": "retrieve", "kind": model.kind}
        for model in call.service.served_models
    ]
    return {"object": "list", "data": listed}


async def cohere_rerank(call: Call) -> Any:
    """Rerank documents."""
    body = call.body
    model = call.service.served_models.find(body.model, *RERANKERS)
    scores, _ = await _score(call, model, body.query, _texts(call, list(body.documents), "documents", empty=True))
    results = _ranked(model.probability(scores), body.top_n)
    return {
        "id": call.request.scope["request_id"],
        "results": [{"index": at, "relevance_score": score} for at, score in results],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }


async def rerank(call: Call) -> Any:
    """Rerank documents, or texts."""
    body = call.body
    if (body.documents is None) == (body.texts is None):
        raise InputError("the body: give either documents or texts")
    model = call.service.served_models.find(body.model, *RERANKERS)
    if body.texts is not None:
        texts = _texts(call, list(body.texts), "texts", empty=True)
        scores, _ = await _score(call, model, body.query, texts, truncate=body.truncate)
        shown = scores if body.raw_scores else model.probability(scores)
        # Equal scores in falling order of their index, as text-embeddings-inference does.
        order = sorted(range(len(texts)), key=lambda at: (-shown[at], -at))
        return [
            {"index": at, "score": float(shown[at]), **({"text": texts[at]} if body.return_text else {})}
            for at in order
        ]
    documents = body.documents if isinstance(body.documents, list) else [body.documents]
    plain = [item.get("text") if isinstance(item, dict) else item for item in documents]
    texts = _texts(call, plain, "documents", empty=True)
    scores, tokens = await _score(call, model, body.query, texts, truncate=body.truncate)
    best = _ranked(scores if body.raw_scores else model.probability(scores), body.top_n)
    with_text = body.return_documents is not False
    return {
        "id": call.request.scope["request_id"],
        "model": model.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": [
            {"index": at, "relevance_score": score, **({"document": {"text": texts[at]}} if with_text else {})}
            for at, score in best
        ],
    }


async def tei_embed(call: Call) -> Any:
    """Embed texts."""
    body, model = call.body, call.service.served_models.find(None, "dense")
    texts = _texts(call, body.inputs, "inputs")
    _only_right(body.truncation_direction)
    dimensions = _dimensions(model, body.dimensions)
    options = EncodeOptions(None, _prompt(model, body.prompt_name), body.normalize is not False, dimensions)
    vectors, _ = await _encode(call, model, texts, options, truncate=body.truncate)
    return vectors.tolist()


async def tei_embed_sparse(call: Call) -> Any:
    """Return the term weights of texts."""
    body, model = call.body, call.service.served_models.find(None, "sparse")
    texts = _texts(call, body.inputs, "inputs")
    _only_right(body.truncation_direction)
    options = EncodeOptions("document", _prompt(model, body.prompt_name))
    rows, _ = await _encode(call, model, texts, options, truncate=body.truncate)
    return [
        [{"index": int(index), "value": float(value)} for index, value in zip(row.indices, row.data, strict=True)]
        for row in rows
    ]


async def tei_similarity(call: Call) -> Any:
    """Return the cosine of a sentence with each of several."""
    body, model = call.body, call.service.served_models.find(None, "dense")
    texts = _texts(call, [body.inputs.source_sentence, *body.inputs.sentences], "inputs")
    vectors, _ = await _encode(call, model, texts, EncodeOptions(normalize=True))
    return (vectors[1:] @ vectors[0]).tolist()


async def tei_info(call: Call) -> Any:
    """Describe the first model."""
    limits, models = call.service.config.limits, list(call.service.served_models)
    if not models:
        raise ServiceError(424, "no model is served", "name one in serve.yaml, key models")
    model = next((each for each in models if each.kind == "dense"), models[0])
    kind: dict[str, Any] = {"embedding": {"pooling": "mean"}}
    if model.kind == "sparse":
        kind = {"embedding": {"pooling": "splade"}}
    elif model.kind != "dense":
        kind = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    return {
        "model_id": model.name,
        "model_sha": model.encoder.checkpoint.revision,
        "model_dtype": model.encoder.precision,
        "served_model_name": model.name,
        "model_type": kind,
        "max_concurrent_requests": limits.waiting,
        "max_input_length": model.max_length,
        "max_batch_tokens": limits.batch_tokens,
        "max_batch_requests": limits.batch_requests,
        "max_client_batch_size": limits.inputs,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": "1.9.3",
        "sha": None,
        "docker_label": None,
    }


async def _encode(
    call: Call, model: ServedModel, texts: Sequence[Any], options: EncodeOptions, *, truncate: bool | None = None
) -> tuple[Any, int]:
    """Return the rows of texts, encoded together with those of other requests, and their number of tokens."""
    counts = await asyncio.to_thread(model.count, texts)
    if truncate is False and counts.max(initial=0) > model.max_length:
        at = int(counts.argmax())
        raise InputError(
            f"text number {at} has {counted(counts[at], 'token')}; {model.name} reads {model.max_length}: shorten it"
        )
    tokens = int(np.minimum(counts, model.max_length).sum())
    call.record.update(model=model.name, texts=len(texts), tokens=tokens)
    call.service.metrics.tokens.labels(model.name).inc(tokens)
    rows = await call.service.encode(model, options, texts, cost=tokens, deadline=call.deadline, owner=call.owner)
    return rows, tokens


async def _score(
    call: Call, model: ServedModel, query: str, texts: Sequence[str], *, truncate: bool | None = None
) -> tuple[NDArray[np.floating], int]:
    if not texts:
        return np.zeros(0), 0
    pairs = [(query, text) for text in texts]
    scores, tokens = await _encode(call, model, pairs, EncodeOptions(), truncate=truncate)
    if scores.ndim > 1:
        raise ServiceError(424, f"{model.name} has several labels, and cannot rank")
    return scores, tokens


def _texts(call: Call, given: Any, name: str, *, empty: bool = False) -> list[str]:
    """Return the texts of a request within the limits; token ids are refused."""
    texts, limits = [given] if isinstance(given, str) else given, call.service.config.limits
    if not isinstance(texts, list) or (not texts and not empty):
        raise InputError(f"{name} must be a text or a list of texts")
    if len(texts) > limits.inputs:
        raise InputError(f"{name} has {counted(len(texts), 'text')}: send at most {limits.inputs} per request")
    for at, text in enumerate(texts):
        if isinstance(text, int | list):
            raise InputError(
                f"{name} has token ids, which belong to another tokenizer: send texts "
                "(LangChain: check_embedding_ctx_length=False)"
            )
        if not isinstance(text, str) or not (text or empty):
            raise InputError(f"{name}[{at}] must be a text that is not empty")
        if len(text) > limits.input_chars:
            raise InputError(f"{name}[{at}] has {counted(len(text), 'character')}: send at most {limits.input_chars:,}")
    return texts


def _dimensions(model: ServedModel, wanted: int | None) -> int | None:
    if wanted is not None and wanted > model.encoder.dimension:
        raise InputError(f"dimensions is {wanted}; {model.name} has {model.encoder.dimension}")
    return wanted


def _prompt(model: ServedModel, name: str | None) -> str | None:
    if name is not None and name not in model.encoder.prompts:
        known = ", ".join(model.encoder.prompts) or "none"
        raise InputError(f"prompt_name is {name!r}; the prompts of {model.name} are: {known}")
    return name


def _only_right(direction: str) -> None:
    if direction.lower() != "right":
        raise InputError("truncation_direction must be Right: texts are cut at their end")


def _ranked(scores: NDArray[np.floating], top: int | None) -> list[tuple[int, float]]:
    order = np.argsort(-np.asarray(scores), kind="stable")[: top or None]
    return [(int(at), float(scores[at])) for at in order]


def _base64(vector: NDArray[np.floating]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


_given = partial(Endpoint, apart="no documents")
"""A route that reads the texts of its request, and no documents of a collection."""

MODEL_ENDPOINTS = (
    _given("GET", "/v1/models", openai_models, "List the models.", dialect="openai"),
    _given("POST", "/v1/embeddings", openai_embeddings, "Embed texts (OpenAI).", OpenAiEmbeddings, dialect="openai"),
    _given("POST", "/v2/rerank", cohere_rerank, "Rerank documents (Cohere).", CohereRerank, dialect="cohere"),
    _given("POST", "/v1/rerank", rerank, "Rerank documents (Jina, vLLM).", Rerank, dialect="openai"),
    _given("POST", "/rerank", rerank, "Rerank texts (text-embeddings-inference).", Rerank, dialect="tei"),
    _given("POST", "/embed", tei_embed, "Embed texts (text-embeddings-inference).", TeiEmbed, dialect="tei"),
    _given(
        "POST", "/embed_sparse", tei_embed_sparse, "Term weights (text-embeddings-inference).", TeiEmbed, dialect="tei"
    ),
    _given("POST", "/similarity", tei_similarity, "Cosines of sentences.", TeiSimilarity, dialect="tei"),
    _given("POST", "/", tei_embed, "Embed texts (text-embeddings-inference).", TeiEmbed, dialect="tei"),
    _given("GET", "/info", tei_info, "Describe the model (text-embeddings-inference).", dialect="tei"),
)
