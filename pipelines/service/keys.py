"""API keys: created once, stored as digests, compared in constant time."""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.settings_files import read_dataclass, read_yaml, write_yaml
from pipelines.search.tenants import check_tenant
from pipelines.service.callers import EVERYONE, Caller, Scope
from pipelines.service.errors import ServiceError

PREFIX = "rtr_"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One entry of a file of keys.

    Parameters
    ----------
    id
        The first 12 hexadecimal digits of the digest: names the key in logs.
    sha256
        Digest of the key, which has 256 random bits: a slow hash would add nothing.
    scope
        ``read``, or ``write``, which includes reading.
    expires
        Date after which it is refused, as in 2027-01-31.
    note
        Who has it.
    tenants
        The tenants that it is bound to; None for all documents.
    """

    id: str
    sha256: str = field(metadata={"is": "the digest of a key, as `retrieve key` writes it"})
    scope: Scope = "read"
    expires: str | None = None
    note: str = ""
    tenants: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _KeyFile:
    keys: Mapping[str, ApiKey] = field(default_factory=dict)


def load_keys(path: str | Path) -> list[ApiKey]:
    """Read a file of keys.

    Raises
    ------
    InputError
        For a file that cannot be read or has an invalid entry.
    """
    content = read_yaml(path)
    if isinstance(content, Mapping) and isinstance(content.get("keys"), Mapping):
        # YAML reads a date as a date.
        entries = {str(name): _as_text(entry, str(name)) for name, entry in content["keys"].items()}
        for name, entry in entries.items():
            if isinstance(entry, Mapping) and not entry.get("tenants", True):
                # Left empty by hand, it must not make a key of all documents.
                raise InputError(f"{path}: keys.{name}.tenants is empty: name tenants, or remove it for all documents")
        content = {**content, "keys": entries}
    keys = list(read_dataclass(_KeyFile, content or {}, str(path)).keys.values())
    for key in keys:
        _date(key.expires, str(path))
        if "" in (key.tenants or ()):
            raise InputError(f"{path}: the key {key.id!r} has an empty name among its tenants: remove it")
        if len(key.sha256) != 64:
            raise InputError(f"{path}: the key {key.id!r} has no SHA-256 digest: create it with `retrieve key {path}`")
    return keys


def add_key(
    path: str | Path,
    scope: Scope,
    *,
    note: str = "",
    expires: str | None = None,
    tenants: Sequence[str] | None = None,
) -> str:
    """Create a key, append its digest to a file and return the key, which is stored nowhere.

    Parameters
    ----------
    scope, note, expires, tenants
        As for `ApiKey`.

    Raises
    ------
    InputError
        For a wrong date, tenants without a name, or a file that cannot be read.
    """
    check_tenant(tenants)
    bound = None if tenants is None else tuple(dict.fromkeys([tenants] if isinstance(tenants, str) else tenants))
    file = local_path(path, "path")
    _date(expires, "expires")
    known = load_keys(file) if file.exists() else []
    secret = PREFIX + secrets.token_urlsafe(32)
    digest = sha256(secret.encode()).hexdigest()
    entries = [*known, ApiKey(digest[:12], digest, scope, expires, note, bound)]
    plain = {key.id: _plain(key) for key in entries}
    write_yaml(file, {"keys": plain})
    file.chmod(0o600)
    return secret


def _plain(key: ApiKey) -> dict[str, Any]:
    """Return the entry of a key in the file, without what it leaves out."""
    values = {name: value for name, value in asdict(key).items() if name != "id" and value}
    return values | ({} if key.tenants is None else {"tenants": list(key.tenants)})


class KeyRing:
    """The keys of a service, or none, which lets everyone in."""

    def __init__(self, keys: Sequence[ApiKey] = (), *, open_to_all: bool = False) -> None:
        self._keys, self.open = list(keys), open_to_all

    @property
    def bound(self) -> bool:
        """True when a key is bound to tenants."""
        return any(key.tenants is not None for key in self._keys)

    def check(self, headers: Mapping[str, str], scope: Scope) -> Caller:
        """Return who sends a request: the id of its key, with what it permits.

        Raises
        ------
        ServiceError
            401 for a missing or unknown key, 403 for one without this scope.
        """
        if self.open:
            return EVERYONE
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        if not given:
            raise _unauthorized("this service needs an API key")
        digest = sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
        found: ApiKey | None = None
        for key in self._keys:
            # Every entry is compared, so that the time does not say which one matched.
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None or datetime.now(UTC) >= _date(found.expires, "keys"):
            raise _unauthorized("the API key is unknown or has expired")
        if scope == "write" and found.scope != "write":
            raise ServiceError(403, "the API key may read but not write", "use a key with the scope write")
        return Caller(found.id, found.scope, found.tenants)


def _unauthorized(message: str) -> ServiceError:
    hint = "send it as Authorization: Bearer KEY, or X-API-Key: KEY"
    return ServiceError(401, message, hint, headers={"WWW-Authenticate": "Bearer"})


def _as_text(entry: object, name: str) -> object:
    if not isinstance(entry, Mapping):
        return entry
    return {"id": name, **{key: str(value) if key == "expires" else value for key, value in entry.items()}}


def _date(text: str | None, where: str) -> datetime:
    """Return the moment at which a date ends; the latest one for no date."""
    if text is None:
        return datetime.max.replace(tzinfo=UTC)
    try:
        return datetime.fromisoformat(text).replace(hour=23, minute=59, second=59, tzinfo=UTC)
    except ValueError:
        raise InputError(f"{where}: expires must be a date as in 2027-01-31, not {text!r}") from None
