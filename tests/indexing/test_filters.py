import json
import sqlite3
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filter_cases import DATES, FIELDS, KEYWORDS, NUMBERS, filters, keeps, metadatas
from indexing.documents import Document
from indexing.errors import InputError
from indexing.filters import And, AnyOf, Exists, Not, Or, Range, check_fields, field_values, parse_filter
from indexing.filters.sqlite import sqlite_indexes, sqlite_where
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.qdrant.index import QdrantIndex
from lucene_documents import upsert_documents


class Sqlite:
    """Filter as the document store does: JSON in a column, with an expression index per field."""

    def __init__(self, metadata):
        self._connection = sqlite3.connect(":memory:")
        self._connection.execute("CREATE TABLE documents (doc_id TEXT PRIMARY KEY, metadata TEXT)")
        for statement in sqlite_indexes(FIELDS):
            self._connection.execute(statement)
        rows = [(doc_id, json.dumps(one, ensure_ascii=False)) for doc_id, one in metadata.items()]
        self._connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)

    def kept(self, written):
        sql, parameters = sqlite_where(parse_filter(written, FIELDS), FIELDS)
        return {row[0] for row in self._connection.execute(f"SELECT doc_id FROM documents WHERE {sql}", parameters)}


class Lucene:
    def __init__(self, metadata, path):
        self._index = Bm25Index.create(path / "index", fields=FIELDS)
        upsert_documents(self._index, (Document(doc_id, "fox", metadata=one) for doc_id, one in metadata.items()))

    def kept(self, written):
        return set(self._index.search(["fox"], 100, filter=written).doc_ids)


class Qdrant:
    def __init__(self, metadata, path, engine):
        self._index = QdrantIndex.create(path / engine, 2, fields=FIELDS, engine=engine)
        self._index.upsert(list(metadata), np.ones((len(metadata), 2)), metadata=list(metadata.values()))

    def kept(self, written):
        return set(self._index.search(np.ones(2), 100, filter=written).doc_ids)


@settings(max_examples=8, deadline=None)
@given(
    documents=st.lists(metadatas(), min_size=1, max_size=20),
    written=st.lists(filters(), min_size=8, max_size=24),
)
def test_every_backend_keeps_what_plain_python_keeps(tmp_path_factory, documents, written):
    metadata = {f"d{number}": one for number, one in enumerate(documents)}
    path = tmp_path_factory.mktemp("filters")
    backends = [Sqlite(metadata), Lucene(metadata, path), *(Qdrant(metadata, path, name) for name in ("edge", "local"))]
    for one in written:
        expected = {doc_id for doc_id, values in metadata.items() if keeps(one, values)}
        for backend in backends:
            assert backend.kept(one) == expected, (type(backend).__name__, one)


def test_the_written_form_becomes_a_small_tree():
    written = {"year": {"gte": 2020, "lt": 2024.5}, "lang": ["en", "de"], "not": {"draft": True}}
    parsed = parse_filter(written, FIELDS)
    assert parsed == And(
        (Range("year", gte=2020.0, lt=2024.5), AnyOf("lang", ("en", "de")), Not(AnyOf("draft", (True,))))
    )
    assert parse_filter(parsed, {}) is parsed
    assert parse_filter({}, FIELDS) == And(())
    assert parse_filter({"lang": {"exists": False}}, FIELDS) == Not(Exists("lang"))
    assert len({parsed, parse_filter(written, FIELDS)}) == 1


def test_dates_are_read_as_milliseconds_however_they_are_written():
    same = ["2020-01-01", "2020-01-01T00:00Z", "2020-01-01 02:00:00.0+02:00", date(2020, 1, 1)]
    same += [datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)]
    assert {parse_filter({"seen": one}, FIELDS) for one in same} == {AnyOf("seen", (1577836800000,))}


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"yaer": 2020}, "unknown field 'yaer': declared are lang, tags, year, seen, draft"),
        ({"year": {"ge": 2020}}, "unknown operator 'ge' for the field 'year': a number takes eq, ne, in, gt"),
        ({"lang": {"gt": "a"}}, "a keyword takes eq, ne, in, exists"),
        ({"year": {}}, "no operator for the field 'year'"),
        ({"year": "2020"}, "'year' must be a number, not '2020'"),
        ({"year": True}, "'year' must be a number, not True"),
        ({"year": float("nan")}, "'year' must be a finite number"),
        ({"year": 2**53 + 1}, r"at most 2\^53"),
        ({"draft": 1}, "'draft' must be true or false, not 1"),
        ({"lang": 3}, "'lang' must be a string"),
        ({"lang": "\ud83d"}, "half of a surrogate pair"),
        ({"seen": "2020"}, "'seen' must be a date"),
        ({"seen": "2020-02-30"}, "'seen' must be a date"),
        ({"seen": "2020-01-01T00:00+15:00"}, "'seen' must be a date"),
        ({"seen": datetime(2020, 1, 1, microsecond=1)}, "more precise than a millisecond"),
        ({"or": []}, "'or' in a filter takes a list of at least one"),
        ({"and": {"year": 1}}, "'and' in a filter takes a list"),
        ({"year": {"in": 3}}, "'in' for the field 'year' takes a list"),
        ({"year": {"exists": 1}}, "takes true or false"),
        ([{"year": 1}], "a filter must be an object"),
    ],
)
def test_an_invalid_filter_is_refused_with_the_known_choices(written, says):
    with pytest.raises(InputError, match=says):
        parse_filter(written, FIELDS)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"a.b": "keyword"}, "invalid name of a filter field 'a.b'"),
        ({"or": "keyword"}, "invalid name of a filter field 'or'"),
        ({"year": "int"}, "unknown type 'int': choose one of keyword, number, date, boolean"),
    ],
)
def test_invalid_field_declarations_are_refused(fields, says):
    with pytest.raises(InputError, match=says):
        check_fields(fields)


def test_metadata_of_a_wrong_type_names_the_document():
    assert field_values(FIELDS, {"tags": ["a", "a"], "year": None, "lang": [], "other": object()}, "d1") == {
        "tags": ("a",)
    }
    with pytest.raises(InputError, match="document 'd1': its field 'year' must be a number, not '2020'"):
        field_values(FIELDS, {"year": "2020"}, "d1")
    with pytest.raises(InputError, match="document 'd1': its field 'tags' must be a string"):
        field_values(FIELDS, {"tags": ["a", None]}, "d1")


def test_sqlite_answers_from_its_indexes():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE documents (doc_id TEXT PRIMARY KEY, metadata TEXT)")
    for statement in sqlite_indexes(FIELDS):
        connection.execute(statement)
    for written in ({"year": {"gte": 3, "lt": 5}}, {"lang": "en"}, {"lang": ["en", "de"]}, {"seen": "2020-01-01"}):
        sql, parameters = sqlite_where(parse_filter(written, FIELDS), FIELDS)
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT doc_id FROM documents WHERE {sql}", parameters)
        steps = [row[3] for row in plan]
        assert not any(step.startswith("SCAN documents") for step in steps), steps


@pytest.mark.parametrize("wrap", [lambda f: {"not": f}, lambda f: {"and": [f, {"draft": True}]}, lambda f: {"or": [f]}])
def test_a_filter_that_is_nested_too_deep_is_refused_before_any_work(wrap):
    """A deeply nested filter ended with a RecursionError, or in SQLite's parser with advice about a full disk."""
    sqlite = Sqlite({"a": {"lang": "en"}, "b": {"lang": "de"}})
    for deepest, refused in ((32, False), (33, True), (5000, True), (200_000, True)):
        written = {"lang": "en"}
        for _ in range(deepest - 1):
            written = wrap(written)
        if refused:
            with pytest.raises(InputError, match="nested deeper than 32 levels"):
                parse_filter(written, FIELDS)
        else:
            sqlite.kept(written)
    circular = {}
    circular["and"] = [circular]
    with pytest.raises(InputError, match="nested deeper"):
        parse_filter(circular, FIELDS)
    tree = AnyOf("lang", ("en",))
    for _ in range(5000):
        tree = Not(tree)
    with pytest.raises(InputError, match="nested deeper"):
        parse_filter(tree, FIELDS)
    nested = "en"
    for _ in range(5000):
        nested = ["de", nested]
    with pytest.raises(InputError, match="nested deeper"):
        parse_filter({"lang": nested}, FIELDS)


def test_many_alternatives_keep_what_plain_python_keeps(tmp_path):
    """Thousands of alternatives took a Java object and a level of SQLite's expression tree each."""
    words = [*KEYWORDS, "😀é", "a\x01b", "plain"]
    metadata = {f"k{number}": {"lang": word, "tags": [word, "z"]} for number, word in enumerate(words)}
    metadata |= {f"n{number}": {"year": value} for number, value in enumerate(NUMBERS)}
    metadata |= {f"d{number}": {"seen": value} for number, value in enumerate(DATES)}
    metadata |= {f"l{number}": {"year": [number, number + 0.5]} for number in range(5)} | {"none": {}}
    backends = [Sqlite(metadata), Lucene(metadata, tmp_path), Qdrant(metadata, tmp_path, "edge")]
    others = [f"w{number}" for number in range(200)]
    ranges = [{"year": {"gte": 3 * number, "lt": 3 * number + 1}} for number in range(100)]
    cases = [
        {"lang": others + words[::2]},
        {"or": [{"lang": word} for word in others + words[::2]]},
        {"tags": [*others, "a\x01b", "😀é", ""]},
        {"year": [*range(100, 200), *NUMBERS[::2], 2.5]},
        {"seen": [f"{1000 + number}-01-01" for number in range(100)] + DATES[::2]},
        {"or": [*ranges, {"lang": "plain"}, {"seen": {"exists": True}}, {"not": {"year": {"exists": True}}}]},
        {"or": [*ranges, {"lang": "plain"}, {"and": [{"tags": "z"}, {"lang": ["", "é"]}]}]},
        {"and": [{"not": {"lang": word}} for word in others + words[::2]]},
        {"and": [{"lang": {"ne": word}} for word in others + words[::2]]},
    ]
    for written in cases:
        expected = {doc_id for doc_id, values in metadata.items() if keeps(written, values)}
        for backend in backends:
            assert backend.kept(written) == expected, (type(backend).__name__, str(written)[-200:])


def test_equalities_of_a_field_become_one_condition():
    assert parse_filter({"or": [{"lang": "a"}, {"year": 1}, {"lang": ["b", "a"]}]}, FIELDS) == Or(
        (AnyOf("lang", ("a", "b")), AnyOf("year", (1.0,)))
    )
    assert parse_filter({"or": [{"lang": f"l{number}"} for number in range(50_000)]}, FIELDS) == AnyOf(
        "lang", tuple(f"l{number}" for number in range(50_000))
    )
    assert parse_filter({"and": [{"lang": {"ne": "a"}}, {"lang": {"ne": "b"}}]}, FIELDS) == Not(
        AnyOf("lang", ("a", "b"))
    )


def test_a_filter_of_too_many_conditions_is_refused():
    with pytest.raises(InputError, match=r"2,001 conditions, over 2,000: write values of a field as a list"):
        parse_filter({"or": [{"year": {"gt": number}} for number in range(2001)]}, FIELDS)


@pytest.mark.parametrize("bad", ["\ud83d", "a\0b", "x" * 40_000, 5])
def test_one_bad_value_among_many_is_named(bad):
    with pytest.raises(InputError, match="the filter's value for the field 'lang'"):
        parse_filter({"lang": [f"w{number}" for number in range(500)] + [bad]}, FIELDS)
