"""`deploy`: all legs of a collection into one Qdrant collection, built beside, checked, and switched to at once."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.deployment.checking import Difference, compare_points
from indexing.deployment.layout import Layout, deployed_leg, needs_mean_length
from indexing.deployment.places import FolderPlace, Place, ServerPlace, is_server
from indexing.deployment.sending import Sender
from indexing.errors import InputError, StorageError
from indexing.inputs import flag, local_path
from pipelines.search.config import SearchConfig
from pipelines.search.tenants import check_tenants

logger = logging.getLogger(__name__)

CHECKED = 1000
"""Number of documents that are compared with the source before searches see a deployment."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """Outcome of a deployment.

    Parameters
    ----------
    where
        The folder, or the URL with the name.
    documents
        Number of documents that are deployed.
    sequence
        The last write of the collection's journal that is deployed.
    sent
        Number of documents sent by this run.
    resumed
        True if an earlier run, which was stopped, had begun.
    seconds
        Duration.
    """

    where: str
    documents: int
    sequence: int
    sent: int
    resumed: bool
    seconds: float


def deploy(
    collection: str | Path,
    to: str | Path,
    *,
    name: str | None = None,
    engine: str = "edge",
    legs: Sequence[str] | None = None,
    shards: int | None = None,
    replicas: int | None = None,
    quantization: str | None = None,
    on_disk: bool = False,
    tenants: str | None = None,
    shard_by_tenant: bool = False,
    follow: bool = False,
    show_progress: bool = True,
) -> Deployed:
    """Deploy a collection: documents, encoded rows and filter fields, without encoding anything.

    A run that was stopped is resumed by the same call. Searches see the new state at once, when it is complete and
    checked; until then they see the old one.

    Parameters
    ----------
    collection
        The collection's directory.
    to
        A server or cluster, ``http://HOST:6333``, with its API key in ``QDRANT_API_KEY``; or a folder for an engine
        embedded in the process that searches.
    name
        The name by which searches find it on a server; by default that of the directory. It is an alias.
    engine
        For a folder: ``"edge"``, or ``"local"`` (NumPy, for tests).
    legs
        The legs to deploy; all by default.
    shards, replicas
        For a cluster: number of shards, and of copies of each.
    quantization, on_disk
        As in `QdrantSettings`.
    tenants
        A declared field of type keyword: documents with the same value belong together, and every search should
        name its tenant; by default that of the collection's ``search.yaml``.
    shard_by_tenant
        In a cluster, give each tenant shards of its own, which searches of it ask alone: for few, large tenants.
    follow
        Send only what was written since the last deployment, to what searches see.
    show_progress
        Show a progress bar on stderr.

    Raises
    ------
    InputError
        For an unknown leg, a field that is not declared, or a leg that Qdrant cannot score.
    StorageError
        When the place cannot be written, or the deployment differs from the collection.
    """
    start = time.monotonic()
    follow, on_disk = flag(follow, "follow"), flag(on_disk, "on_disk")
    if flag(shard_by_tenant, "shard_by_tenant") and not is_server(str(to)):
        raise InputError(f"shard_by_tenant (--shard-by-tenant) is for a cluster, and {to} is a folder: leave it out")
    place = _place(collection, to, name, engine, shards, replicas)
    with place.lock(), Collection.open(collection) as source, source.reading() as snapshot:
        before = place.published()
        layout = _layout(snapshot, before if follow else None, legs, quantization, on_disk, tenants)
        if shard_by_tenant and not follow:
            if layout.tenant is None:
                raise InputError(
                    "shard_by_tenant (--shard-by-tenant) needs a field of tenants: give tenants (--tenants)"
                )
            layout = replace(layout, sharded=True)
        if follow:
            return _follow(snapshot, place, before, layout, start, show_progress)
        target, begun = place.stage(layout)
        try:
            done = Sender(snapshot, begun).send(
                target, lambda state: place.save(state, staged=True), show_progress=show_progress
            )
            _check(snapshot, target, done)
            place.save(replace(done, state="ready"), staged=True)
        finally:
            target.close()
        place.publish()
        resumed = begun.sequence > 0
        sent = _changed(snapshot, begun.sequence)
        return Deployed(place.where, done.documents, done.sequence, sent, resumed, time.monotonic() - start)


def _place(
    collection: str | Path, to: str | Path, name: str | None, engine: str, shards: int | None, replicas: int | None
) -> Place:
    if is_server(str(to)):
        return ServerPlace(
            str(to), name or local_path(collection, "collection").resolve().name, shards=shards, replicas=replicas
        )
    for option, value in (("name", name), ("shards", shards), ("replicas", replicas)):
        if value is not None:
            raise InputError(f"{option} is for a server, and {to} is a folder: leave it out")
    return FolderPlace(to, engine)


def _layout(
    snapshot: Snapshot,
    before: Layout | None,
    legs: Sequence[str] | None,
    quantization: str | None,
    on_disk: bool,
    tenants: str | None,
) -> Layout:
    """Return the layout of a new deployment; when it follows `before`, with the choices and the statistics of that."""
    if before is not None:
        return replace(before, journal=before.journal or snapshot.documents.journal)
    manifest = snapshot.manifest
    names = list(manifest.legs if legs is None else legs)
    stated = SearchConfig.of_collection(snapshot.path)
    tenants = tenants if tenants is not None else stated.tenants
    if tenants is not None:
        check_tenants(tenants, manifest.fields, "tenants (--tenants)")
    entries = {
        name: deployed_leg(
            name,
            snapshot.leg(name),
            mean_length=_mean_length(snapshot, name),
            quantization=quantization,
            on_disk=on_disk,
        )
        for name in names
    }
    search: Mapping[str, Any] = {}
    if names == list(manifest.legs):
        search = {k: v for k, v in stated.as_dict().items() if k not in ("collection", "tenants")}
    source, journal = str(snapshot.path.resolve()), snapshot.documents.journal
    return Layout(entries, manifest.fields, dict(manifest.corpus), source, tenants, search, journal=journal)


def _mean_length(snapshot: Snapshot, name: str) -> float:
    """Return the mean length in words by which the collection's own leg of texts scores; 0 where Qdrant knows it."""
    if not needs_mean_length(snapshot.leg(name)):
        return 0.0
    index: Any = snapshot.settled_index(name)
    words = index.words()
    return float(words.totals["average_length"]) if words is not None else float(index.words_settings.mean_length)


def _follow(
    snapshot: Snapshot, place: Place, before: Layout | None, layout: Layout, start: float, show_progress: bool
) -> Deployed:
    if before is None:
        raise StorageError(
            f"{place.where} holds no deployed collection to bring forward: deploy the whole first (leave out --follow)"
        )
    if before.source != str(snapshot.path.resolve()):
        raise StorageError(
            f"{place.where} was deployed from {before.source}, not from {snapshot.path}: deploy the whole (leave out "
            "--follow)"
        )
    if layout.journal != snapshot.documents.journal:
        raise StorageError(
            f"{snapshot.path} was built again or restored since it was deployed to {place.where}: deploy the whole "
            "(leave out --follow)"
        )
    without_length = any(needs_mean_length(leg) and not leg.parameters["mean_length"] for leg in layout.legs.values())
    if without_length and len(snapshot.documents):
        raise StorageError(
            f"{place.where} was deployed when no document had a word, so that its BM25 knows no mean length: deploy "
            "the whole (leave out --follow)"
        )
    engine = place.open()
    try:
        done = Sender(snapshot, layout).send(
            engine, lambda state: place.save(state, staged=False), show_progress=show_progress
        )
        place.save(done, staged=False)
    finally:
        engine.close()
    sent = _changed(snapshot, before.sequence)
    return Deployed(place.where, done.documents, done.sequence, sent, False, time.monotonic() - start)


def _changed(snapshot: Snapshot, after: int) -> int:
    return sum(len(changes) for _, changes in snapshot.documents.changes(after))


def _check(snapshot: Snapshot, engine: Any, layout: Layout) -> None:
    """Compare what was sent with the source before searches see it."""
    found: list[Difference] = compare_points(snapshot, engine, layout, sample=CHECKED)
    if found:
        raise StorageError(f"the deployment differs from its collection, and searches keep the old one: {found[0]}")
