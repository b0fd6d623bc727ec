"""Tenants: the value of one declared field divides a collection, and a search may be limited to some of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.documents import Document
from indexing.errors import InputError
from indexing.filters import And, AnyOf, field_values, parse_filter
from indexing.inputs import shown

if TYPE_CHECKING:
    from pipelines.search.config import SearchConfig


Tenant: TypeAlias = str | Sequence[str]
"""The tenant of a search, or several, whose documents are all searched."""


def with_tenant(filter: Any, tenant: Tenant | None, field: str | None, snapshot: Snapshot | Collection) -> Any:
    """Return a search's filter together with that of its tenant or tenants.

    Parameters
    ----------
    filter
        The filter of the search; None for none.
    tenant
        The tenant, or several of which a document has one; None for all.
    field
        The field that names a document's tenant; None where nothing declares one.
    snapshot
        The state of the collection, whose fields the filter names.

    Raises
    ------
    InputError
        For a tenant where no field is declared to name it.
    """
    if tenant is None:
        return filter
    if field is None:
        known = ", ".join(name for name, kind in snapshot.manifest.fields.items() if kind == "keyword") or "none"
        raise InputError(
            f"{snapshot.path} declares no field of tenants: write tenants: FIELD into its search.yaml (its keyword "
            f"fields: {known})"
        )
    if filter is None:
        return {field: tenant if isinstance(tenant, str) else list(tenant)}
    parsed = parse_filter(filter, snapshot.manifest.fields)
    parts = parsed.parts if isinstance(parsed, And) else (parsed,)
    return And((AnyOf(field, (tenant,) if isinstance(tenant, str) else tuple(tenant)), *parts))


def tenants_of(document: Document, field: str) -> frozenset[str]:
    """Return the tenants that a document belongs to; an `InputError` for values that are no keywords."""
    values = field_values({field: "keyword"}, document.metadata, document.doc_id)
    return frozenset(map(str, values.get(field, ())))


def check_tenant(tenant: Any) -> None:
    """Raise an `InputError` for a tenant that is neither None nor a text nor a list of texts."""
    named = [tenant] if isinstance(tenant, str) else tenant
    if named is not None and (
        not isinstance(named, list | tuple) or not named or not all(isinstance(one, str) and one for one in named)
    ):
        raise InputError(
            f"tenant must be the value of the field of tenants, a text, or a list of them, not {shown(tenant)}"
        )


def declared_tenants(config: "SearchConfig", snapshot: Snapshot) -> str | None:
    """Return the field that names tenants: the configuration's, or that of a deployed collection; None for none.

    Raises
    ------
    InputError
        For a field that is not declared as a keyword.
    """
    if config.tenants is not None:
        check_tenants(config.tenants, snapshot.manifest.fields, "tenants in the configuration of searches")
    return config.tenants or snapshot.tenants


def check_tenants(field: str, fields: Mapping[str, str], what: str) -> None:
    """Raise an `InputError` for a field of tenants that is not declared as a keyword; `what` names it."""
    if fields.get(field) != "keyword":
        raise InputError(
            f"{what}: {field!r} is not a declared field of type keyword: declare it when the collection is built "
            f"(--filter-field {field}:keyword)"
        )
