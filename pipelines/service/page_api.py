"""Routes of the search page, of judgements made on it, and of the OpenAPI document."""

import asyncio
from functools import lru_cache
from importlib.resources import files
from typing import Any

from starlette.responses import Response

from pipelines.service.endpoint import Call, Endpoint
from pipelines.service.errors import ServiceError
from pipelines.service.judging import JudgementBody

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


@lru_cache
def _content(name: str) -> bytes:
    return (files("pipelines.service") / "page" / name).read_bytes()


def _file(name: str) -> Any:
    async def answer(call: Call) -> Any:
        del call
        kind = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return Response(_content(name), media_type=kind, headers=headers)

    return answer


async def judge(call: Call) -> Any:
    """Store one judgement."""
    judgements, body = call.service.judgements, call.body
    if judgements is None:
        raise ServiceError(403, "this service stores no judgements", "start it with --judge FILE", code="read_only")
    served = call.service.collection(body.collection, call.caller)
    if call.caller.bound and await asyncio.to_thread(served.document, body.doc_id, call.caller) is None:
        # A later judgement replaces an earlier one, which may be another tenant's.
        raise ServiceError(404, f"there is no document {body.doc_id!r} in {served.name!r}")
    query_id = await asyncio.to_thread(judgements.add, body.query, body.doc_id, body.grade)
    return {"query_id": query_id, "doc_id": body.doc_id, "grade": body.grade}


PAGE_ENDPOINTS = (
    Endpoint("GET", "/", _file("index.html"), "The search page.", scope=None, always=True),
    Endpoint("GET", "/page.css", _file("page.css"), "Style of the page.", scope=None, always=True),
    Endpoint("GET", "/page.js", _file("page.js"), "Script of the page.", scope=None, always=True),
    Endpoint("POST", "/v1/judgements", judge, "Judge a document.", JudgementBody, scope="write", apart="filtered"),
)
