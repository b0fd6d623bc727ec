"""Answers of the service: exact JSON, and errors as each client expects them."""

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from pipelines.service.errors import Dialect, ServiceError


class ExactJson(JSONResponse):
    """JSON without Python's extensions: numbers that are not finite become null, half surrogate pairs are escaped."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of the answer."""
        try:
            return _dump(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return _dump(content, ensure_ascii=True).encode()


def _dump(content: Any, *, ensure_ascii: bool) -> str:
    try:
        return json.dumps(content, ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(content), ensure_ascii=ensure_ascii, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def error_answer(error: ServiceError, dialect: Dialect, request_id: str) -> ExactJson:
    """Return the answer to a request that failed."""
    return ExactJson(error.body(dialect, request_id), error.status, headers=error.headers)
