"""Request bodies: strict JSON of bounded size and depth, read into dataclasses."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from starlette.requests import Request

from indexing.errors import InputError
from indexing.inputs import repeated
from indexing.plurals import counted
from indexing.settings_files import read_dataclass
from pipelines.service.config import Limits
from pipelines.service.errors import ClientGone, ServiceError

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
T = TypeVar("T")

MAX_DISCARDED = 64_000_000
"""Bytes of an oversized body that are read and discarded, so that the client reads the answer instead of an error."""


async def read_json(request: Request, limits: Limits) -> Any:
    """Return the JSON value of a request's body.

    Raises
    ------
    ServiceError
        413 for a body that is too large, 415 for one that is not declared as JSON, 400 for invalid JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await _read(request, limits.body_bytes)
    if kind != "application/json" and not kind.endswith("+json"):
        raise ServiceError(
            415, f"the body is declared as {kind or 'nothing'}", "send JSON with Content-Type: application/json"
        )
    return parse_json(raw, limits.nesting)


def parse_json(raw: bytes, nesting: int) -> Any:
    """Parse JSON without its extensions: no NaN, no repeated key, no number beyond a float's range."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ServiceError(400, f"the body is not UTF-8: byte {error.start} is invalid") from None
    if not text.strip():
        raise ServiceError(400, "the body is empty", "send a JSON object")
    _check_nesting(text, nesting)
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except ValueError as error:
        raise ServiceError(400, f"the body is not JSON: {error}", "send a JSON object") from None


def read_body(kind: type[T], content: Any) -> T:
    """Build a dataclass from parsed JSON.

    Raises
    ------
    InputError
        For an unknown field, a missing one, or a value of another type.
    """
    if isinstance(content, Mapping):
        _check_strings(kind, content, "")
    return read_dataclass(kind, content, "the body")


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    total = 0
    parts: list[bytes] = []
    oversized = declared.isdecimal() and int(declared) > limit
    async for part in _stream(request):
        total += len(part)
        oversized = oversized or total > limit
        if oversized:
            parts.clear()
            if total > MAX_DISCARDED:
                break
        else:
            parts.append(part)
    if oversized:
        raise ServiceError(
            413, f"the body is larger than {counted(limit, 'byte')}", "send fewer or shorter texts per request"
        )
    return b"".join(parts)


async def _stream(request: Request) -> Any:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _check_nesting(text: str, limit: int) -> None:
    """Count brackets outside strings before parsing: the parser is recursive."""
    if text.count("[") + text.count("{") <= limit:
        return
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > limit:
                raise ServiceError(400, f"the body is nested deeper than {limit} levels", "flatten it")
        elif found[0] in "]}":
            depth -= 1


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the key {repeated(key for key, _ in pairs)!r} occurs twice")
    return values


def _check_strings(kind: type, content: Mapping[str, Any], prefix: str) -> None:
    """Refuse numbers written as text, which settings files may contain."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        value, accepted = content.get(field.name), get_args(hints[field.name]) or (hints[field.name],)
        if isinstance(value, str) and {int, float} & set(accepted) and str not in accepted:
            raise InputError(f"the body: {prefix}{field.name} must be a number, not the text {value!r}")
        nested = next((member for member in accepted if is_dataclass(member)), None)
        if isinstance(value, Mapping) and isinstance(nested, type):
            _check_strings(nested, value, f"{field.name}.")
