"""Cells of CSV and TSV are read as the type of their filter field; what a collection refuses is an unusable record."""

import json

import pytest

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.corpora.chunked import ChunkedCorpus
from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import read_corpus
from indexing.corpora.sources.ranges import split_into_ranges
from indexing.documents import Document
from indexing.errors import InputError
from pipelines.build.estimate import estimate_build
from pipelines.build.job import build_collection, build_legs, update_collection
from pipelines.build.plan import make_plan
from pipelines.search import SearchPipeline

FIELDS = {"year": "number", "ok": "boolean", "day": "date", "lang": "keyword"}
QUIET = {"show_progress": False}
HEADER = ["id", "text", "year", "ok", "day", "lang", "note"]
ROWS = [
    ["1", "hello world", "2020", "true", "2020-01-31", "en", "7"],
    ["2", "hello there", " -1.5e3 ", "FALSE", " 2021-02-03T04:05:06Z ", "de", ""],
    ["3", "hello again", "", " ", "", "", "x"],
]


def table(path, *rows, delimiter=","):
    path.write_text("".join(delimiter.join(row) + "\n" for row in (HEADER, *rows)))
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("c.csv", ","), ("c.tsv", "\t")])
def test_cells_have_the_type_of_their_field_and_an_empty_cell_is_no_value(tmp_path, name, delimiter):
    build_collection(read_corpus(table(tmp_path / name, *ROWS, delimiter=delimiter)), tmp_path / "c", fields=FIELDS)

    with Collection.open(tmp_path / "c") as collection:
        first, second, third = (document.metadata for document in collection.get(["1", "2", "3"]))
        assert first == {"year": 2020, "ok": True, "day": "2020-01-31", "lang": "en", "note": "7"}
        assert second == {"year": -1500.0, "ok": False, "day": "2021-02-03T04:05:06Z", "lang": "de", "note": ""}
        assert third == {"year": None, "ok": None, "day": None, "lang": None, "note": "x"}
        assert collection.matching({"year": {"gte": 2000}}) == ["1"]
        assert collection.matching({"ok": False}) == ["2"]
        assert collection.matching({"day": {"lt": "2021-01-01"}}) == ["1"]
        assert set(collection.matching({"not": {"lang": ["en", "de"]}})) == {"3"}


def test_an_update_reads_cells_as_the_collections_types(tmp_path):
    build_collection(read_corpus(table(tmp_path / "c.csv", ROWS[0])), tmp_path / "c", fields=FIELDS, **QUIET)

    report = update_collection(read_corpus(table(tmp_path / "d.csv", *ROWS)), tmp_path / "c", encoders={}, **QUIET)

    assert (report.unchanged, report.written) == (1, 2)
    with Collection.open(tmp_path / "c") as collection:
        assert collection.matching({"year": -1500}) == ["2"]


def test_types_reach_the_chunks_of_a_document(tmp_path):
    corpus = ChunkedCorpus(read_corpus(table(tmp_path / "c.csv", *ROWS)), Chunking(by="tokens", size=1))
    build_collection(corpus, tmp_path / "c", fields=FIELDS, **QUIET)
    with Collection.open(tmp_path / "c") as collection:
        assert sorted(collection.matching({"year": 2020})) == ["1#0", "1#1"]


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        ("year", "n/a", "must be a number"),
        ("year", "1,5", "must be a number"),
        ("year", "nan", "must be a number"),
        ("year", "inf", "must be a number"),
        ("year", "١٢", "must be a number"),
        ("year", "1" * 400, "must be a finite number"),
        ("ok", "maybe", "must be true or false"),
        ("day", "31.01.2020", "must be a date"),
        ("lang", "x" * 40_000, "at most 32,766 bytes"),
        ("id", "x" * 40_000, "bytes"),
    ],
)
def test_a_cell_of_another_type_is_named_by_file_line_and_field(tmp_path, column, cell, says):
    bad = dict(zip(HEADER, ["4", "bad row", *ROWS[0][2:]], strict=True)) | {column: f'"{cell}"'}
    path = table(tmp_path / "c.csv", ROWS[0], list(bad.values()), ROWS[1])

    with pytest.raises(InputError, match=rf"c\.csv, line 3: .*{says}"):
        build_collection(read_corpus(path), tmp_path / "c", fields=FIELDS, **QUIET)
    assert not (tmp_path / "c").exists()

    corpus = read_corpus(path, on_error="skip", skipped_to=tmp_path / "skipped.jsonl")
    report = build_collection(corpus, tmp_path / "c", fields=FIELDS, **QUIET)
    assert (report.documents, report.skipped) == (2, 1)
    (line,) = map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())
    assert (line["file"], line["line"], line["raw"][column]) == (str(path), 3, cell)
    assert says in line["reason"]


JSON_LINES = [
    {"_id": "1", "text": "vaccines", "year": 2020},
    {"_id": "2", "text": "bread", "year": "n/a"},
    {"_id": "x" * 40_000, "text": "too long an id"},
    {"_id": "4", "text": "steel", "parent_id": "p"},
    '{"_id": "5", "text": "measles", "other": 1e999}',
    {"_id": "6", "text": "oven", "year": [2020, True]},
    {"_id": "7", "text": "the last", "year": [2020, 2021]},
]


def json_lines(path, lines=JSON_LINES):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("chunked", [False, True])
def test_skip_skips_what_the_collection_refuses_and_the_rest_goes_on(tmp_path, chunked):
    corpus = read_corpus(json_lines(tmp_path / "c.jsonl"), on_error="skip", skipped_to=tmp_path / "skipped.jsonl")
    corpus = ChunkedCorpus(corpus, Chunking()) if chunked else corpus

    report = build_collection(corpus, tmp_path / "c", fields={"year": "number"}, **QUIET)

    skipped = [json.loads(line)["line"] for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert skipped == ([2, 3, 4, 5, 6] if chunked else [2, 3, 5, 6])
    assert (report.documents, report.skipped) == (7 - len(skipped), len(skipped))
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        assert [hit.doc_id for hit in pipeline.search("last", 1)] == ["7#0" if chunked else "7"]
    again = update_collection(corpus, tmp_path / "c", encoders={}, **QUIET)
    assert (again.unchanged, again.written, again.skipped) == (7 - len(skipped), 0, len(skipped))


class Counting:
    """Encoder of one vector for every text, which counts its calls."""

    identity = {"name": "counting", "dimension": 4}  # noqa: RUF012

    def __init__(self):
        self.texts = []

    def encode_document(self, texts):
        import numpy as np

        self.texts += texts
        return np.ones((len(texts), 4), np.float32)


@pytest.mark.parametrize("source", ["corpus", "list"])
def test_a_bad_record_is_found_before_the_first_text_is_encoded(tmp_path, source):
    from indexing.collection.legs import DocumentEncoder  # noqa: F401  # the protocol that Counting follows
    from pipelines.build.plan import Plan

    lines = [{"_id": str(number), "text": f"text {number}", "year": number} for number in range(1400)]
    lines[1300]["year"] = "n/a"
    documents = [Document(line["_id"], line["text"], "", {"year": line["year"]}) for line in lines]
    corpus = read_corpus(json_lines(tmp_path / "c.jsonl", lines)) if source == "corpus" else documents
    encoder = Counting()
    legs = {"dense": Leg("faiss", encoder.identity, {"dimension": 4})}

    with pytest.raises(InputError, match=r"document '1300': its field 'year' must be a number"):
        build_legs(corpus, tmp_path / "c", Plan(legs, {"dense": encoder}, {}, {"year": "number"}), **QUIET)

    assert encoder.texts == []


def test_a_dry_run_reads_and_checks_cells_as_a_build_does(tmp_path):
    plan = make_plan(fields=FIELDS)
    estimate = estimate_build(read_corpus(table(tmp_path / "c.csv", *ROWS)), plan, **QUIET)
    assert estimate.documents == 3
    bad = table(tmp_path / "d.csv", ROWS[0], ["2", "b", "n/a", "", "", "", ""])
    with pytest.raises(InputError, match=r"d\.csv, line 3: document '2': its field 'year' must be a number"):
        estimate_build(read_corpus(bad), plan, **QUIET)


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl", "c.csv.gz"])
def test_lines_may_end_with_cr_alone(tmp_path, name):
    import gzip

    rows = {
        "c.csv": 'id,text\r1,"a, b"\r2,cd\r',
        "c.tsv": "id\ttext\r1\ta, b\r2\tcd",
        "c.jsonl": '{"_id":"1","text":"a, b"}\r{"_id":"2","text":"cd"}\r',
    }
    content = rows[name.removesuffix(".gz")].encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    corpus = read_corpus(tmp_path / name)

    assert list(corpus) == [Document("1", "a, b"), Document("2", "cd")]
    assert corpus.count() in (None, 2, 3)
    if name == "c.jsonl":
        assert [len(list(part.records())) for part in split_into_ranges(corpus.source, size=10)] == [2]


def test_times_of_records_are_cut_to_milliseconds(tmp_path):
    lines = [
        {"_id": "1", "text": "a", "day": "2020-01-01T10:00:00.123456"},
        {"_id": "2", "text": "b", "day": ["2020-01-01 10:00:00.123999999+01:00", "2021-01-01"]},
    ]
    build_collection(read_corpus(json_lines(tmp_path / "c.jsonl", lines)), tmp_path / "c", fields={"day": "date"})
    with Collection.open(tmp_path / "c") as collection:
        assert collection.matching({"day": "2020-01-01T10:00:00.123"}) == ["1"]
        assert collection.matching({"day": "2020-01-01T10:00:00.123+01:00"}) == ["2"]


def test_a_parquet_timestamp_may_be_a_date_field(tmp_path):
    from datetime import datetime

    import pyarrow as pa
    import pyarrow.parquet

    moment = datetime(2020, 1, 1, 10, 0, 0, 123456)  # tables hold times without a zone
    pyarrow.parquet.write_table(pa.table({"id": ["1"], "text": ["a"], "day": [moment]}), tmp_path / "c.parquet")
    build_collection(read_corpus(tmp_path / "c.parquet"), tmp_path / "c", fields={"day": "date"}, **QUIET)
    with Collection.open(tmp_path / "c") as collection:
        assert collection.matching({"day": {"gt": "2020-01-01T09:59:59"}}) == ["1"]


@pytest.mark.parametrize("line", ['{"_id":"1","text":"a","text":"b"}', '{"_id":"1","text":"a","m":{"k":1,"k":1}}'])
def test_a_key_that_occurs_twice_makes_a_record_unusable(tmp_path, line):
    corpus = read_corpus(json_lines(tmp_path / "c.jsonl", [line, {"_id": "2", "text": "b"}]), on_error="skip")
    assert [document.doc_id for document in corpus] == ["2"]
    with pytest.raises(InputError, match=r"c\.jsonl, line 1: .*the key '(text|k)' occurs twice"):
        list(read_corpus(tmp_path / "c.jsonl"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("s.yaml", "depth: 10\ndepth: 20\n"), ("s.yaml", "a:\n  b: 1\n  b: 2\n"), ("s.json", '{"b": 1, "b": 1}')],
)
def test_a_key_that_occurs_twice_in_a_settings_file_is_named(tmp_path, name, content):
    from indexing.settings_files import read_yaml

    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name} is not .*: the key '(b|depth)' occurs twice"):
        read_yaml(tmp_path / name)
    (tmp_path / "merged.yaml").write_text("base: &base {a: 1}\nmore:\n  <<: *base\n  a: 2\n")
    assert read_yaml(tmp_path / "merged.yaml")["more"] == {"a": 2}
