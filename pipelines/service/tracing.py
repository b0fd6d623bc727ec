"""OpenTelemetry spans of requests and searches; without a configured SDK they record nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

tracer = trace.get_tracer("retrieve")


@contextmanager
def request_span(method: str, headers: Mapping[str, str], record: dict[str, Any]) -> Iterator[Span]:
    """Provide the span of one request, a child of the caller's; its record gets the trace's id, and names the route."""
    with tracer.start_as_current_span(method, context=extract(headers), kind=SpanKind.SERVER) as span:
        context = span.get_span_context()
        if context.is_valid:
            record["trace_id"] = trace.format_trace_id(context.trace_id)
        try:
            yield span
        finally:
            span.update_name(f"{method} {record['route']}")
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.route", record["route"])
            span.set_attribute("http.response.status_code", record["status"])
            if record["status"] >= 500:
                span.set_status(Status(StatusCode.ERROR))


@contextmanager
def retrieval_span(collection: str, k: int) -> Iterator[Span]:
    """Provide the span of one search, named as OpenTelemetry's conventions for generative AI ask."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": collection,
        "gen_ai.retrieval.top_k": k,
    }
    with tracer.start_as_current_span(f"retrieval {collection}", kind=SpanKind.CLIENT, attributes=attributes) as span:
        yield span
