"""Translation of Haystack's and LlamaIndex's filters to the filters of `SearchPipeline.search`."""

from collections.abc import Mapping
from typing import Any

from indexing.errors import InputError
from indexing.inputs import shown

_COMPARISONS = {"==": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "in": "in"}
"""Operators of both frameworks by their names in our filters."""


def from_haystack(written: Any) -> Any:
    """Return a filter for `SearchPipeline.search`; one that is not in Haystack's form is returned unchanged.

    Parameters
    ----------
    written
        ``{"field": "meta.year", "operator": ">=", "value": 2020}``, or
        ``{"operator": "AND", "conditions": [FILTER, …]}`` with AND, OR or NOT (which negates the AND of its parts).

    Raises
    ------
    InputError
        For an operator that our filters do not have.
    """
    if not isinstance(written, Mapping) or "operator" not in written or not {"field", "conditions"} & written.keys():
        return written
    operator = written["operator"]
    if "field" in written:
        return _comparison(str(written["field"]).removeprefix("meta."), operator, written.get("value"))
    parts = [from_haystack(part) for part in written["conditions"]]
    if operator == "NOT":
        return {"not": {"and": parts}}
    if operator not in ("AND", "OR"):
        raise InputError(f"the filter combines conditions by {shown(operator)}: it must be 'AND', 'OR' or 'NOT'")
    return {operator.lower(): parts}


def from_llamaindex(written: Any) -> Any:
    """Return a filter for `SearchPipeline.search`; one that is not a ``MetadataFilters`` is returned unchanged.

    Raises
    ------
    InputError
        For an operator that our filters do not have, such as ``text_match``.
    """
    if not hasattr(written, "filters"):
        return _of_metadata_filter(written) if hasattr(written, "operator") and hasattr(written, "key") else written
    parts = [from_llamaindex(part) for part in written.filters]
    if not parts:
        return {}
    condition = str(getattr(written.condition, "value", written.condition) or "and")
    return {"not": {"or": parts}} if condition == "not" else {condition: parts}


def _of_metadata_filter(written: Any) -> dict[str, Any]:
    operator = str(getattr(written.operator, "value", written.operator))
    field, value = written.key, written.value
    if operator == "is_empty":
        return {field: {"exists": False}}
    if operator == "contains":
        return {field: value}
    if operator == "any":
        return _comparison(field, "in", value)
    if operator == "all":
        return {"and": [{field: part} for part in value]}
    return _comparison(field, {"nin": "not in"}.get(operator, operator), value)


def _comparison(field: str, operator: Any, value: Any) -> dict[str, Any]:
    if operator == "not in":
        return {"not": _comparison(field, "in", value)}
    if value is None and operator in ("==", "!="):
        return {field: {"exists": operator == "!="}}
    if operator not in _COMPARISONS:
        known = ", ".join([*_COMPARISONS, "not in"])
        raise InputError(f"the filter has the operator {shown(operator)} for the field {field!r}; it takes {known}")
    return {field: {_COMPARISONS[operator]: list(value) if isinstance(value, tuple | set) else value}}
