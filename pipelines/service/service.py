"""Service: the collections, models and queues behind the routes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from indexing.collection.manifest import read_manifest
from indexing.errors import InputError, RetrieveError
from pipelines.models import Models
from pipelines.search.opening import is_deployed
from pipelines.service.access_log import log_event
from pipelines.service.batcher import Batcher
from pipelines.service.callers import EVERYONE, Caller
from pipelines.service.config import ServeConfig
from pipelines.service.errors import ServiceError
from pipelines.service.judging import Judgements
from pipelines.service.keys import KeyRing, load_keys
from pipelines.service.metrics import Metrics
from pipelines.service.search_body import SearchBody
from pipelines.service.served import Answer, ServedCollection
from pipelines.service.served_models import EncodeOptions, ServedModel, ServedModels
from pipelines.service.writing import CollectionWrites, Write

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "draining"]

WARM_UP = "warm up"


class Service:
    """Everything that the routes use; belongs to one event loop.

    Parameters
    ----------
    config
        What is served.

    Raises
    ------
    RetrieveError
        For a configuration that cannot be served, or a directory that is not a collection.
    """

    def __init__(self, config: ServeConfig) -> None:
        config.check()
        for entry in config.collections.values():
            if not is_deployed(entry.path):
                read_manifest(Path(entry.path))  # a wrong path is reported before anything is opened
        self.config, self.metrics, self.models = config, Metrics(), Models()
        self.keys = KeyRing(load_keys(config.keys)) if config.keys is not None else KeyRing(open_to_all=True)
        self.state: State = "loading"
        self.collections: dict[str, ServedCollection] = {}
        self.searches: dict[str, Batcher[tuple[SearchBody, bool], Answer]] = {}
        self.writes: dict[str, Batcher[Write, int | ServiceError | InputError]] = {}
        self.served_models = ServedModels()
        self._encodings: dict[tuple[str, str], Batcher[Sequence[Any], Any]] = {}
        self.judgements = None if config.judge is None else Judgements(config.judge)
        self._opened = asyncio.Event()
        self.failure: BaseException | None = None
        self._watching: asyncio.Task[None] | None = None
        self.metrics.before_export(self._measure)

    @property
    def ready(self) -> bool:
        """True while requests are answered; a draining service still answers those that reach it."""
        return self.state != "loading"

    async def until_ready(self) -> None:
        """Wait until everything is open.

        Raises
        ------
        ServiceError
            When it cannot be opened.
        """
        await self._opened.wait()
        if self.failure is not None:
            raise ServiceError(503, "the collections cannot be opened", "the server's log says why")

    async def hold(self, stop: asyncio.Event) -> None:
        """Open everything, and close everything once `stop` is set."""
        async with self.running():
            await stop.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open everything, answer requests, and close everything."""
        start = time.monotonic()
        async with AsyncExitStack() as closing:
            await self._open_all(closing)
            self.state = "ready"
            self._opened.set()
            memory = self.metrics.registry.get_sample_value("process_resident_memory_bytes")
            log_event(
                "ready",
                collections={name: served.documents for name, served in self.collections.items()},
                models=[model.name for model in self.served_models],
                seconds=round(time.monotonic() - start, 2),
                memory_mb=None if memory is None else round(memory / 1e6),
            )
            yield
            self.state = "draining"

    async def _open_all(self, closing: AsyncExitStack) -> None:
        """Open collections, models and queues, and try each collection once."""
        try:
            for name in self.config.collections:
                await asyncio.to_thread(self._open, name)
                closing.callback(self.collections[name].close)
                closing.push_async_callback(self.searches[name].close)
                if name in self.writes:
                    closing.push_async_callback(self.writes[name].close)
            await asyncio.to_thread(self._load_models)
            for model in self.served_models:
                self._encodings[model.kind, model.name] = self._batcher(f"model {model.name}", model.run)
                closing.push_async_callback(self._encodings[model.kind, model.name].close)
            self._watching = asyncio.create_task(self._watch())
            closing.push_async_callback(self._stop_watching)
            await self._warm()
        except BaseException as error:
            self.failure = error
            self._opened.set()
            raise

    def visible(self, caller: Caller) -> dict[str, ServedCollection]:
        """Return the collections that a caller may use; one bound to tenants uses those that name a field of them."""
        if not caller.bound:
            return self.collections
        return {name: served for name, served in self.collections.items() if served.tenants is not None}

    def collection(self, name: str, caller: Caller) -> ServedCollection:
        """Return a collection that a caller may use.

        Raises
        ------
        ServiceError
            404 for any other name. A key that is bound to tenants cannot tell whether there is a collection without.
        """
        visible = self.visible(caller)
        if name not in visible:
            kinds = "collections with tenants, to which the API key is bound" if caller.bound else "collections"
            raise ServiceError(404, f"there is no collection {name!r}", f"{kinds}: {', '.join(visible) or 'none'}")
        return visible[name]

    def without_folders(self, error: BaseException) -> BaseException:
        """Return an error for a client: an `InputError` names collections in place of their folders."""
        if not isinstance(error, InputError):
            return error
        text = str(error)
        # The longest first: a folder may be within another.
        folders = {str(served.pipeline.collection.path): name for name, served in self.collections.items()}
        for folder in sorted(folders, key=len, reverse=True):
            text = text.replace(folder, folders[folder])
        return InputError(text)

    async def find(
        self,
        served: ServedCollection,
        body: SearchBody,
        *,
        caller: Caller,
        deadline: float,
        timed: bool = False,
        owner: str = "",
    ) -> Answer:
        """Return the answer to a search of the caller's documents, made together with others like it.

        Raises
        ------
        ServiceError
            403 for a search of another tenant than the caller's.
        """
        # The key contains the tenants, so that a batch is of the same documents.
        body = caller.held(body)
        key = body.key() if len(body.queries) == 1 else f"{id(body)} phrasings"
        cost = 1 + sum(map(len, body.queries)) // 4
        return await self.searches[served.name].submit(key, (body, timed), cost=cost, deadline=deadline, owner=owner)

    async def encode(
        self,
        model: ServedModel,
        options: EncodeOptions,
        texts: Sequence[Any],
        *,
        cost: int,
        deadline: float,
        owner: str,
    ) -> Any:
        """Return a model's rows for texts or pairs, made together with those of other requests."""
        batcher = self._encodings[model.kind, model.name]
        return await batcher.submit(options, texts, cost=cost, deadline=deadline, owner=owner)

    def _load_models(self) -> None:
        """Offer the configured models, then those of the collections."""
        self.served_models.load(self.config.models, self.models)
        for served in self.collections.values():
            for kind, name, encoder in served.encoders():
                self.served_models.add(name, kind, encoder)

    def _open(self, name: str) -> None:
        entry = self.config.collections[name]
        crosses = {model: each for model, each in self.config.models.items() if each.kind == "cross-encoder"}
        served = ServedCollection(name, entry, models=self.models, metrics=self.metrics, rerankers=crosses)
        self.collections[name] = served
        self.searches[name] = self._batcher(f"search {name}", served.answer)
        if self.config.writable:
            writes = CollectionWrites(entry.path, self.models, served.refresh, lambda: served.tenants)
            self.writes[name] = self._batcher(f"write {name}", writes.apply, threads=1)

    def _batcher(self, name: str, run: Any, *, threads: int | None = None) -> Batcher[Any, Any]:
        """Return a queue of this work; with one thread, in the order of arrival."""
        limits = self.config.limits
        return Batcher(
            name,
            run,
            threads=threads or limits.running,
            waiting=limits.waiting,
            items=limits.batch_requests,
            cost=limits.batch_tokens,
            metrics=self.metrics,
            ordered=threads == 1,
        )

    async def _warm(self) -> None:
        """Search each collection once, so that the first request finds models and indexes loaded."""
        for served in self.collections.values():
            body = SearchBody(WARM_UP, explain=True, snippet=100)
            answer = await self.find(served, body, caller=EVERYONE, deadline=time.monotonic() + 600)
            await asyncio.to_thread(served.shown, body, answer)

    async def _watch(self) -> None:
        """Move searches to what other processes commit."""
        while True:
            await asyncio.sleep(self.config.refresh_seconds)
            for served in self.collections.values():
                try:
                    await asyncio.to_thread(served.follow)
                except (RetrieveError, OSError) as error:
                    self.metrics.refresh_failures.labels(served.name).inc()
                    logger.warning("%s cannot be refreshed; searches see the older state: %s", served.name, error)

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def _measure(self) -> None:
        batchers: list[Batcher[Any, Any]] = [*self.searches.values(), *self.writes.values(), *self._encodings.values()]
        for batcher in batchers:
            self.metrics.queue_size.labels(batcher.name).set(len(batcher))
        for name, served in self.collections.items():
            self.metrics.documents.labels(name).set(served.documents)
            self.metrics.loaded.labels(name).set(served.sequence)
            self.metrics.sequence.labels(name).set(served.latest_sequence)
            self.metrics.refreshed.labels(name).set(served.refreshed)
