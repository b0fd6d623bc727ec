"""A filter in plain Python, straight over raw metadata: what every backend must agree with. And random cases of it."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

FIELDS = {"lang": "keyword", "tags": "keyword", "year": "number", "seen": "date", "draft": "boolean"}

KEYWORDS = ["en", "de", "", "two words", "é", 'quo"te', "[]", '["en"]', "null", "true", "2020", "AND", "x" * 50]
NUMBERS = [0, -0.0, 1, -1, 2020, 2020.5, 2021, 1e-300, -1e300, 2**53, 0.1, 3.0]
DATES = [
    "2020-01-01",
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00.001Z",
    "2020-01-01 02:00+02:00",
    "1969-12-31T23:59:59.999Z",
    "2024-02-29T12:30",
    "0001-01-01",
    "9999-12-31T23:59:59.9",
    "2019-12-31T20:00:00-04:00",
]
DOMAINS = {"keyword": KEYWORDS, "number": NUMBERS, "date": DATES, "boolean": [True, False]}


def moment(text: str) -> datetime:
    whole = text.replace("Z", "+00:00")
    if "." in whole:
        head, _, tail = whole.partition(".")
        digits = len(tail) - len(tail.lstrip("0123456789"))
        whole = f"{head}.{tail[:digits].ljust(6, '0')}{tail[digits:]}"
    read = datetime.fromisoformat(whole)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def keeps(written: dict[str, Any], metadata: dict[str, Any]) -> bool:
    return all(part(key, value, metadata) for key, value in written.items())


def part(key: str, value: Any, metadata: dict[str, Any]) -> bool:
    if key == "and":
        return all(keeps(one, metadata) for one in value)
    if key == "or":
        return any(keeps(one, metadata) for one in value)
    if key == "not":
        return not keeps(value, metadata)
    has = metadata.get(key)
    values = [] if has is None else has if isinstance(has, list) else [has]
    if FIELDS[key] == "date":
        values = [moment(one) for one in values]
        value = operands(value)
    if not isinstance(value, dict):
        wanted = value if isinstance(value, list) else [value]
        return any(one in wanted for one in values)
    checks = {
        "eq": lambda one: one == value["eq"],
        "in": lambda one: one in value["in"],
        "gt": lambda one: one > value["gt"],
        "gte": lambda one: one >= value["gte"],
        "lt": lambda one: one < value["lt"],
        "lte": lambda one: one <= value["lte"],
    }
    bounds = [checks[name] for name in value if name in ("gt", "gte", "lt", "lte")]
    results = [any(checks[name](one) for one in values) for name in value if name in ("eq", "in")]
    if bounds:
        results.append(any(all(check(one) for check in bounds) for one in values))
    if "ne" in value:
        results.append(value["ne"] not in values)
    if "exists" in value:
        results.append(bool(values) == value["exists"])
    return all(results)


def operands(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: one if name == "exists" else operands(one) for name, one in value.items()}
    return [moment(one) for one in value] if isinstance(value, list) else moment(value)


def values(name: str) -> st.SearchStrategy[Any]:
    kind = FIELDS[name]
    extra = {"keyword": st.text("ab\\\"' \n日", max_size=3), "number": st.integers(-5, 5) | st.floats(-10, 10)}
    return st.sampled_from(DOMAINS[kind]) | extra.get(kind, st.nothing())


@st.composite
def metadatas(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"other": "passed over"}
    for name in FIELDS:
        shape = draw(st.sampled_from(["none", "none", "null", "one", "one", "one", "list", "empty"]))
        if shape == "null":
            found[name] = None
        elif shape == "one":
            found[name] = draw(values(name))
        elif shape != "none":
            found[name] = draw(st.lists(values(name), min_size=1, max_size=3)) if shape == "list" else []
    return found


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(list(FIELDS)))
    shape = draw(st.sampled_from(["one", "list", "operators", "operators"]))
    if shape == "one":
        return {name: draw(values(name))}
    if shape == "list":
        return {name: draw(st.lists(values(name), max_size=4))}
    known = ["eq", "ne", "in", "exists"]
    if FIELDS[name] in ("number", "date"):
        known += ["gt", "gte", "lt", "lte"] * 2
    asked = {}
    for operator in draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True)):
        if operator == "exists":
            asked[operator] = draw(st.booleans())
        else:
            asked[operator] = draw(st.lists(values(name), max_size=3) if operator == "in" else values(name))
    return {name: asked}


def filters() -> st.SearchStrategy[dict[str, Any]]:
    def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, min_size=1, max_size=3)
        return st.one_of(
            lists.map(lambda parts: {"and": parts}),
            lists.map(lambda parts: {"or": parts}),
            inner.map(lambda one: {"not": one}),
            st.tuples(leaves(), inner).map(lambda pair: {**pair[0], "not": pair[1]}),
        )

    return st.recursive(st.just({}) | leaves(), joined, max_leaves=5)
