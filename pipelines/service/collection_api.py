"""Routes of collections: search, documents, descriptions, writes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from indexing.documents import Document
from indexing.errors import InputError
from pipelines.service.endpoint import Call, Endpoint
from pipelines.service.errors import ServiceError
from pipelines.service.search_body import SearchBody
from pipelines.service.served import ServedCollection
from pipelines.service.served_models import short_name
from pipelines.service.tracing import retrieval_span
from pipelines.service.writing import Write

CHARS_PER_TOKEN = 4

OF_ALL_TENANTS = ("sequence", "latest_sequence", "refreshed")
"""Values of a description that tell when any tenant writes; a caller that is bound to tenants does not get them."""

DOCUMENTS: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {
            "doc_id": {"type": "string", "minLength": 1},
            "text": {"type": "string"},
            "title": {"type": "string"},
            "metadata": {"type": "object"},
        },
        "required": ["doc_id", "text"],
        "additionalProperties": False,
    },
}
"""JSON schema of documents to write."""


@dataclass(frozen=True, slots=True)
class DocumentBody:
    """A document without its id, which is in the path.

    Parameters
    ----------
    text, title, metadata
        See `Document`.
    """

    text: str = field(metadata={"is": "the document's text"})
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DocumentsBody:
    """Documents to add or replace.

    Parameters
    ----------
    documents
        Objects with ``doc_id``, ``text`` and optionally ``title`` and ``metadata``.
    """

    documents: Any = field(metadata={"is": "a list of documents", "schema": DOCUMENTS})


@dataclass(frozen=True, slots=True)
class DeleteBody:
    """Documents to delete: by ids, or by a filter.

    Parameters
    ----------
    ids
        Unknown ones are ignored.
    filter
        Over declared fields; an empty one is refused.
    """

    ids: tuple[str, ...] | None = None
    filter: Mapping[str, Any] | None = None


async def search(call: Call) -> Any:
    """Answer one search."""
    served, body = collection_of(call), call.body
    body.check(call.service.config.limits)
    with retrieval_span(served.name, body.k) as span:
        answer = await call.service.find(
            served, body, caller=call.caller, deadline=call.deadline, timed=call.timed, owner=call.owner
        )
        for stage, milliseconds in answer.results.timings.items():
            span.set_attribute(f"retrieve.stage.{stage}_ms", milliseconds)
    shown = await asyncio.to_thread(served.shown, body, answer)
    record = call.record
    record |= {"collection": served.name, "k": body.k, "hits": len(shown["hits"]), "reranked": shown["reranked"]}
    record |= {"degraded": sorted(shown["failures"]), "cached": shown["cached"], "stages": shown["timings"]}
    if call.service.config.log_queries:
        record["query"] = " | ".join(body.queries)[:1000]
    if call.caller.bound:
        del shown["sequence"]  # it counts the writes of all tenants
    return {**shown, "request_id": call.request.scope["request_id"]}


async def describe_all(call: Call) -> Any:
    """Describe every collection in short."""
    served = call.service.visible(call.caller).values()
    return {"collections": await asyncio.to_thread(lambda: [_short(call, one) for one in served])}


async def describe(call: Call) -> Any:
    """Describe one collection."""
    return await asyncio.to_thread(_long, call, collection_of(call))


async def get_document(call: Call) -> Any:
    """Return one document."""
    served, doc_id = collection_of(call), call.parameter("id")
    document = await asyncio.to_thread(served.document, doc_id, call.caller)
    if document is None:
        raise ServiceError(404, f"there is no document {doc_id!r} in {served.name!r}")
    return document_json(document)


async def put_document(call: Call) -> Any:
    """Add or replace one document."""
    body = call.body
    document = Document(call.parameter("id"), body.text, body.title, body.metadata)
    return await _write(call, "upsert", [document])


async def put_documents(call: Call) -> Any:
    """Add or replace documents."""
    return await _write(call, "upsert", read_documents(call.body.documents, call.service.config.limits.documents))


async def delete_document(call: Call) -> Any:
    """Delete one document; deleting it again succeeds."""
    return await _write(call, "delete", [call.parameter("id")])


async def delete_documents(call: Call) -> Any:
    """Delete documents by ids or a filter."""
    body: Any = call.body
    if (body.ids is None) == (body.filter is None):
        raise InputError("give either ids or filter")
    if body.filter is not None and not body.filter:
        raise InputError("filter is empty: it would delete every document")
    return await _write(call, "delete", list(body.ids) if body.filter is None else dict(body.filter))


async def refresh(call: Call) -> Any:
    """Move searches to what other processes have committed."""
    served = collection_of(call)
    await asyncio.to_thread(served.refresh)
    return _short(call, served)


def read_documents(items: Any, limit: int) -> list[Document]:
    """Return the documents of a list of JSON objects; an `InputError` names the first that is none."""
    if not isinstance(items, list) or not items:
        raise InputError("documents must be a list of objects with doc_id and text")
    if len(items) > limit:
        raise InputError(f"documents has {len(items)} entries: send at most {limit} at once")
    documents = []
    for at, item in enumerate(items):
        if not isinstance(item, dict) or not {"doc_id", "text"} <= item.keys():
            raise InputError(f"documents[{at}] must be an object with doc_id and text")
        unknown = next(iter(item.keys() - {"doc_id", "text", "title", "metadata"}), None)
        if unknown is not None:
            raise InputError(f"documents[{at}]: unknown key {unknown!r}: put further fields under metadata")
        if not isinstance(item.get("metadata", {}), dict):
            raise InputError(f"documents[{at}].metadata must be an object")
        documents.append(Document(item["doc_id"], item["text"], item.get("title", ""), item.get("metadata", {})))
    return documents


def document_json(document: Document) -> dict[str, Any]:
    """Return a document's JSON."""
    return {
        "doc_id": document.doc_id,
        "title": document.title,
        "text": document.text,
        "metadata": dict(document.metadata),
    }


async def _write(call: Call, kind: str, items: Sequence[Any] | Mapping[str, Any]) -> Any:
    served = collection_of(call)
    writes = call.service.writes.get(served.name)
    if writes is None:
        raise ServiceError(403, "this service is read-only", "start it with --writable", code="read_only")
    cost = 1 + sum(len(item.contents) for item in items if isinstance(item, Document)) // CHARS_PER_TOKEN
    # A batch joins writes of one kind only, so that an upsert and a delete keep their order.
    count = await writes.submit(kind, Write(items, call.caller), cost=cost, deadline=call.deadline, owner=call.owner)
    if isinstance(count, ServiceError | InputError):
        raise count
    call.record["collection"] = served.name
    return {"collection": served.name, "upserted" if kind == "upsert" else "deleted": count}


def collection_of(call: Call) -> ServedCollection:
    """Return the collection that a request names in its path."""
    found: ServedCollection = call.service.collection(call.parameter("name"), call.caller)
    return found


def _short(call: Call, served: ServedCollection) -> dict[str, Any]:
    manifest = served.pipeline.collection.manifest
    short = {
        "name": served.name,
        "description": served.entry.description,
        "documents": served.count(call.caller),
        "sequence": served.sequence,
        "fields": dict(manifest.fields),
        "legs": list(manifest.legs),
        "writable": served.name in call.service.writes,
    }
    return {name: value for name, value in short.items() if not (call.caller.bound and name in OF_ALL_TENANTS)}


def _long(call: Call, served: ServedCollection) -> dict[str, Any]:
    manifest, config = served.pipeline.collection.manifest, served.config
    legs = {
        name: {
            "rows": leg.rows,
            "backend": leg.backend,
            **({} if call.caller.bound else {"documents": leg.count}),
            "encoder": (leg.encoder or {}).get("name"),
        }
        for name, leg in manifest.legs.items()
    }
    configured = config.reranker
    described = {
        **_short(call, served),
        "latest_sequence": served.latest_sequence,
        "refreshed": served.refreshed,
        "legs": legs,
        "searched": served.searched,
        "fusion": dict(config.fusion) if config.fusion is not None else None,
        "reranker": None if configured is None else short_name(configured.model),
        "rerankers": served.rerankers,
        "chunks": served.chunks,
        "tenants": served.tenants,
        "judging": call.service.config.judge is not None,
    }
    return {name: value for name, value in described.items() if not (call.caller.bound and name in OF_ALL_TENANTS)}


_COLLECTION = "/v1/collections/{name}"

COLLECTION_ENDPOINTS = (
    Endpoint("GET", "/v1/collections", describe_all, "List the collections.", apart="filtered"),
    Endpoint("GET", _COLLECTION, describe, "Describe a collection.", apart="filtered"),
    Endpoint("GET", f"{_COLLECTION}/info", describe, "Describe a collection.", apart="filtered"),
    Endpoint("POST", f"{_COLLECTION}/search", search, "Search a collection.", SearchBody, apart="filtered"),
    Endpoint("GET", f"{_COLLECTION}/documents/{{id:path}}", get_document, "Return a document.", apart="filtered"),
    Endpoint(
        "PUT",
        f"{_COLLECTION}/documents",
        put_documents,
        "Add or replace documents.",
        DocumentsBody,
        scope="write",
        apart="owned",
    ),
    Endpoint(
        "PUT",
        f"{_COLLECTION}/documents/{{id:path}}",
        put_document,
        "Add or replace a document.",
        DocumentBody,
        scope="write",
        apart="owned",
    ),
    Endpoint(
        "DELETE",
        f"{_COLLECTION}/documents/{{id:path}}",
        delete_document,
        "Delete a document.",
        scope="write",
        apart="owned",
    ),
    Endpoint(
        "POST",
        f"{_COLLECTION}/delete",
        delete_documents,
        "Delete documents by ids or a filter.",
        DeleteBody,
        scope="write",
        apart="owned",
    ),
    Endpoint("POST", f"{_COLLECTION}/refresh", refresh, "Move searches to what was committed since.", scope="write"),
)
