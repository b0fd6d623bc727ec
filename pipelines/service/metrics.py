"""Metrics of a service, for Prometheus."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
POWERS = tuple(2.0**power for power in range(0, 16))


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("http_requests", "Answered requests.", "method", "route", "status")
        self.request_seconds = self._histogram(
            "http_request_duration_seconds", "Time to answer a request.", SECONDS, "method", "route"
        )
        self.in_flight = Gauge("retrieve_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.stage_seconds = self._histogram(
            "stage_duration_seconds", "Time of a stage of a search.", SECONDS, "collection", "stage"
        )
        self.queue_seconds = self._histogram(
            "queue_duration_seconds", "Time that an item waited for a thread.", SECONDS, "work"
        )
        self.queue_size = self._gauge("queue_size", "Items that wait for a thread.", "work")
        self.batch_size = self._histogram("batch_size", "Items of a batch.", POWERS, "work")
        self.batch_tokens = self._histogram("batch_tokens", "Estimated tokens of a batch.", POWERS, "work")
        self.rejected = self._counter("rejected", "Requests that were refused.", "reason")
        self.degraded = self._counter("degraded", "Answers that lack a leg.", "collection", "leg")
        self.cache = self._counter("cache_requests", "Searches by whether the cache had the answer.", "result")
        self.tokens = self._counter("tokens", "Tokens of the texts sent to a model.", "model")
        self.pairs = self._counter("reranked_pairs", "Candidates read by rerankers.", "collection")
        self.documents = self._gauge("collection_documents", "Documents of a collection.", "collection")
        self.sequence = self._gauge("collection_sequence", "Last write of a collection.", "collection")
        self.loaded = self._gauge("collection_loaded_sequence", "Last write that searches see.", "collection")
        self.refreshed = self._gauge(
            "collection_last_refresh_timestamp_seconds", "When searches last moved to a newer state.", "collection"
        )
        self.refresh_failures = self._counter("refresh_failures", "Refreshes that failed.", "collection")
        self._before: list[Callable[[], None]] = []

    def before_export(self, update: Callable[[], None]) -> None:
        """Call `update` before each export, to set gauges."""
        self._before.append(update)

    def export(self) -> tuple[bytes, str]:
        """Return the metrics as text, and its media type."""
        for update in self._before:
            update()
        return openmetrics(self.registry), OPENMETRICS

    def searched(self, collection: str, timings: Mapping[str, float], failures: Mapping[str, str]) -> None:
        """Record a search's stages, in milliseconds, and the legs that it lacks."""
        for stage, milliseconds in timings.items():
            self.stage_seconds.labels(collection, stage).observe(milliseconds / 1000)
        for leg in failures:
            self.degraded.labels(collection, leg).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"retrieve_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"retrieve_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Any, *labels: str) -> Histogram:
        return Histogram(f"retrieve_{name}", text, labels, buckets=buckets, registry=self.registry)
