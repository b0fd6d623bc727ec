"""ShardKeys: shards of a Qdrant cluster that hold the points of one tenant each, and which of them a request is for.

A point belongs to the shard of its tenant; a point of several tenants, or of none, to a shard that they share. A search
of one tenant asks the tenant's shard and the shared one, any other search asks all.

In such a collection an id is unique within a shard only, and a server refuses a deletion that names no shards. So a
point whose tenant changes is deleted from its old shard before it is written to the new one. A job that is killed in
between has not recorded the write, and repeats it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from indexing.errors import StorageError
from indexing.indexes.qdrant.engine import Point
from indexing.indexes.qdrant.filters import PAYLOAD

ShardKey: TypeAlias = str | int

SHARED: ShardKey = 1
"""Key of the shard of points with several tenants or none: a number, which equals no tenant. (The client drops 0.)"""


class ShardKeys:
    """The shard keys of one collection.

    Parameters
    ----------
    client, collection
        The client of Qdrant, and the collection's name or alias.
    tenant
        The field of tenants.
    retry
        Runs a request again while its failures are transient.
    """

    def __init__(self, client: Any, collection: str, tenant: str, retry: Callable[..., Any]) -> None:
        self._client, self._collection, self._tenant, self._retry = client, collection, tenant, retry
        self._known: list[ShardKey] | None = None

    def check(self, where: str) -> None:
        """Raise `StorageError` if the server is not part of a cluster: only a cluster has shard keys."""
        if str(getattr(self._retry(self._client.cluster_status), "status", "disabled")) != "enabled":
            raise StorageError(
                f"{where}: the server is not in cluster mode, without which it has no shard keys: start it as a "
                "cluster (QDRANT__CLUSTER__ENABLED=true), or leave shard_by_tenant (--shard-by-tenant) out"
            )

    def known(self) -> list[ShardKey]:
        """Return the keys that exist."""
        if self._known is None:
            found = self._retry(lambda: self._client.list_shard_keys(self._collection)).shard_keys or []
            self._known = [one.key for one in found]
        return self._known

    def forget(self) -> bool:
        """Read the keys again; return whether others exist now, as after an alias has moved."""
        before, self._known = self._known, None
        return before is not None and set(before) != set(self.known())

    def ensure(self, keys: Sequence[ShardKey]) -> None:
        """Create the keys that do not exist."""
        for key in keys:
            if key in self.known():
                continue
            try:
                name = self._named()
                self._retry(lambda key=key, name=name: self._client.create_shard_key(name, key))
            except StorageError:
                # An answer may have been lost, or another process may have created it.
                self._known = None
                if key not in self.known():
                    raise
            self._known = None

    def _named(self) -> str:
        """Return the collection behind the alias, if it is one: aliases are for points."""
        aliases = self._retry(self._client.get_aliases).aliases
        return next((one.collection_name for one in aliases if one.alias_name == self._collection), self._collection)

    def key_of(self, payload: Mapping[str, Any]) -> ShardKey:
        """Return the key of the shard that a point belongs to, by its payload."""
        tenants = (payload.get(PAYLOAD) or {}).get(self._tenant) or []
        values = tenants if isinstance(tenants, list) else [tenants]
        return str(values[0]) if len(values) == 1 and values[0] != "" else SHARED

    def grouped(self, points: Sequence[Point]) -> dict[ShardKey, list[Point]]:
        """Return points by the key of their shard."""
        found: dict[ShardKey, list[Point]] = {}
        for point in points:
            found.setdefault(self.key_of(point.payload), []).append(point)
        return found

    def of_search(self, tenant: str | None) -> list[ShardKey] | None:
        """Return the keys of the shards that a search of one tenant asks; None for all."""
        if tenant is None:
            return None
        if tenant not in self.known():
            self._known = None  # it may be new
        return [tenant, SHARED] if tenant and tenant in self.known() else [SHARED]
