"""API keys: created once, stored as digests, compared in constant time."""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.settings_files import read_dataclass, read_yaml, write_yaml
from pipelines.service.errors import ServiceError

Scope = Literal["read", "write"]

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
    """

    id: str
    sha256: str = field(metadata={"is": "the digest of a key, as `retrieve key` writes it"})
    scope: Scope = "read"
    expires: str | None = None
    note: str = ""


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
        content = {**content, "keys": entries}
    keys = list(read_dataclass(_KeyFile, content or {}, str(path)).keys.values())
    for key in keys:
        _date(key.expires, str(path))
        if len(key.sha256) != 64:
            raise InputError(f"{path}: the key {key.id!r} has no SHA-256 digest: create it with `retrieve key {path}`")
    return keys


def add_key(path: str | Path, scope: Scope, *, note: str = "", expires: str | None = None) -> str:
    """Create a key, append its digest to a file and return the key, which is stored nowhere."""
    file = local_path(path, "path")
    _date(expires, "expires")
    known = load_keys(file) if file.exists() else []
    secret = PREFIX + secrets.token_urlsafe(32)
    digest = sha256(secret.encode()).hexdigest()
    entries = [*known, ApiKey(digest[:12], digest, scope, expires, note)]
    plain = {key.id: {name: value for name, value in asdict(key).items() if name != "id" and value} for key in entries}
    write_yaml(file, {"keys": plain})
    file.chmod(0o600)
    return secret


class KeyRing:
    """The keys of a service; an empty one accepts every request."""

    def __init__(self, keys: Sequence[ApiKey] = (), *, open_to_all: bool = False) -> None:
        self._keys, self.open = list(keys), open_to_all

    def check(self, headers: Mapping[str, str], scope: Scope) -> str | None:
        """Return the id of the request's key; None when no keys are in use.

        Raises
        ------
        ServiceError
            401 for a missing or unknown key, 403 for one without this scope.
        """
        if self.open:
            return None
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
        return found.id


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
