"""Caller: who sends a request, and the tenants that its API key is bound to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from indexing.documents import Document
from pipelines.search.tenants import tenants_of
from pipelines.service.errors import ServiceError
from pipelines.service.search_body import SearchBody

Scope = Literal["read", "write"]

Apart = Literal["filtered", "owned", "no documents"]
"""How a route keeps tenants apart: it reads the documents of the caller's tenants only (``filtered``), writes only
documents that belong to these alone (``owned``), or reads and writes nothing of a collection (``no documents``)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, as its API key says.

    Parameters
    ----------
    id
        The id of the key; None where no keys are in use.
    scope
        What it may do.
    tenants
        The tenants that it is bound to; None for a key of all documents. An empty tuple sees no document.
    """

    id: str | None = None
    scope: Scope = "read"
    tenants: tuple[str, ...] | None = None

    @property
    def bound(self) -> bool:
        """True for a caller that is bound to tenants."""
        return self.tenants is not None

    def held(self, body: SearchBody) -> SearchBody:
        """Return the search, held to the caller's tenants: those that it names, or all of them.

        Raises
        ------
        ServiceError
            403 for a search of another tenant.
        """
        if self.tenants is None:
            return body
        named: Sequence[str] = [body.tenant] if isinstance(body.tenant, str) else body.tenant or self.tenants
        other = next((tenant for tenant in named if tenant not in self.tenants), None)
        if other is not None or not named:
            raise ServiceError(403, f"the API key is not for the tenant {other!r}", self._hint)
        return replace(body, tenant=tuple(sorted(set(named))))

    def sees(self, document: Document, field: str | None) -> bool:
        """Return whether a document belongs to one of the caller's tenants; `field` names a document's tenants."""
        return self.tenants is None or (field is not None and not tenants_of(document, field).isdisjoint(self.tenants))

    def owns(self, document: Document, field: str | None) -> bool:
        """Return whether a document belongs to the caller's tenants and to no others."""
        if self.tenants is None:
            return True
        found = frozenset() if field is None else tenants_of(document, field)
        return bool(found) and found.issubset(self.tenants)

    def refuse_foreign(self, document: Document, field: str | None) -> None:
        """Raise a `ServiceError` (403) for a document to write whose tenants are not only the caller's."""
        if not self.owns(document, field):
            raise ServiceError(
                403,
                f"document {document.doc_id!r}: its field {field!r} must name tenants of the API key, and no others",
                self._hint,
            )

    @property
    def _hint(self) -> str:
        return f"the tenants of the key: {', '.join(self.tenants or ()) or 'none'}"


EVERYONE = Caller(scope="write")
"""The caller where no keys are in use: nothing is held back."""

NOBODY = Caller(tenants=())
"""The caller of a route that needs no key: it sees no document."""
