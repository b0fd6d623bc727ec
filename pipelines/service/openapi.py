"""The OpenAPI document of a service, made of its endpoints and their dataclasses."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pipelines.service.endpoint import Endpoint

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}
_STATUSES = {
    "200": "The answer.",
    "400": "The request is malformed.",
    "401": "The API key is missing or unknown.",
    "403": "The API key, or the service, does not permit this.",
    "404": "There is no such collection, document or model.",
    "413": "The body is too large.",
    "415": "The body is not declared as JSON.",
    "421": "The server does not answer for this host.",
    "422": "The request is invalid.",
    "424": "No model of this kind is served.",
    "429": "Too many requests of this caller are waiting; Retry-After says when to try again.",
    "500": "The server failed.",
    "503": "The server is full, loading or stopping; Retry-After says when to try again.",
    "504": "The deadline passed.",
}
_UNREACHABLE = {"GET": {"413", "415", "422"}, "DELETE": {"413", "415"}}


def openapi(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        path = re.sub(r":path\}", "}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "retrieve", "version": "1", "description": "Search of collections, and their models."},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    skipped = _UNREACHABLE.get(endpoint.method, set())
    responses: dict[str, Any] = {
        status: {"description": text} for status, text in _STATUSES.items() if status not in skipped
    }
    operation: dict[str, Any] = {"summary": endpoint.summary, "responses": responses}
    names = re.findall(r"\{(\w+)(?::path)?\}", endpoint.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if endpoint.scope is not None:
        operation["security"] = [{"key": []}, {}]
        operation["x-scope"] = endpoint.scope
        operation["x-tenants"] = endpoint.apart or "refused"
    if endpoint.body is not None:
        content = {"application/json": {"schema": schema(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def schema(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a dataclass."""
    hints, texts = get_type_hints(kind), _descriptions(kind)
    properties = {}
    for each in fields(kind):
        described = each.metadata.get("schema") or _schema(hints[each.name]) | _bounds(each.metadata)
        text = texts.get(each.name) or each.metadata.get("is")
        properties[each.name] = described | ({"description": text} if text else {})
    needed = [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _schema(hint: Any) -> dict[str, Any]:
    origin, members = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if hint is NoneType:
        return {"type": "null"}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is Literal:
        return {"enum": list(members)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(member) for member in members]}
    if origin is tuple:
        return {"type": "array", "items": _schema(members[0])}
    if is_dataclass(hint) and isinstance(hint, type):
        return schema(hint)
    return {"type": "object"}


def _bounds(metadata: Mapping[str, Any]) -> dict[str, Any]:
    names = {"min": "minimum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}
    return {word: metadata[name] for name, word in names.items() if name in metadata}


def _descriptions(kind: type) -> dict[str, str]:
    """Return the text of each field in the dataclass's docstring."""
    texts: dict[str, str] = {}
    for names, text in re.findall(r"^    ([\w, ]+)\n((?:        .*\n)+)", kind.__doc__ or "", re.MULTILINE):
        line = " ".join(text.split()).replace("``", "`")
        texts.update({name.strip(): line for name in names.split(",")})
    return texts
