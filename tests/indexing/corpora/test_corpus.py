"""Corpora: every supported format is read, each malformed record is named, and no other is lost."""

import gzip
import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.corpora.corpus import read_corpus
from indexing.documents import Document
from indexing.errors import InputError
from indexing.seen_ids import SeenIds

os.environ.setdefault("HF_HUB_OFFLINE", "1")

GOOD = {"_id": "good", "text": "a good one"}


def write(path, content):
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_lines(path, *lines):
    return write(path, "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


class TestForms:
    def test_a_beir_folder(self, tmp_path):
        write_lines(
            tmp_path / "corpus.jsonl",
            {"_id": "1", "title": "T", "text": "one", "metadata": {"url": "u"}, "year": 1999},
            {"_id": "2", "title": "", "text": "two", "metadata": {}},
        )
        write_lines(tmp_path / "queries.jsonl", {"_id": "q", "text": "not a document"})

        assert list(read_corpus(tmp_path)) == [
            Document("1", "one", "T", {"year": 1999, "url": "u"}),
            Document("2", "two", ""),
        ]

    @pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.jsonl.gz", "c.json.gz", "C.JSONL"])
    @pytest.mark.parametrize(("id_field", "text_field"), [("_id", "text"), ("id", "contents"), ("doc_id", "text")])
    def test_json_lines_under_the_usual_field_names(self, tmp_path, name, id_field, text_field):
        path = write_lines(tmp_path / name, {id_field: "日本", text_field: "東京\u2028は", "lang": "ja"})

        assert list(read_corpus(str(path))) == [Document("日本", "東京\u2028は", "", {"lang": "ja"})]

    def test_a_compressed_beir_folder(self, tmp_path):
        write_lines(tmp_path / "corpus.jsonl.gz", GOOD)

        assert list(read_corpus(tmp_path)) == [Document("good", "a good one")]

    def test_csv_with_quoted_commas_quotes_and_line_ends(self, tmp_path):
        path = write(
            tmp_path / "c.csv", 'id,title,text,year\r\n1,"A, B","said ""no""\nand left",2001\r\n\r\n2,,plain,\r\n'
        )

        assert list(read_corpus(path)) == [
            Document("1", 'said "no"\nand left', "A, B", {"year": "2001"}),
            Document("2", "plain", "", {"year": ""}),
        ]

    @pytest.mark.parametrize("name", ["c.tsv", "c.tsv.gz"])
    def test_in_tsv_a_quote_is_a_character_like_any_other(self, tmp_path, name):
        path = write(tmp_path / name, 'id\ttext\n1\t"Quoted" from the start\n2\t5" pipes\n')

        assert [document.text for document in read_corpus(path)] == ['"Quoted" from the start', '5" pipes']

    def test_parquet_with_every_type_that_json_can_hold(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet

        rows = {
            "id": [7, 8],
            "title": ["T", None],
            "contents": ["seven", "eight"],
            "day": [date(2020, 1, 2), None],
            "price": [Decimal("1.50"), None],
            "weight": [0.5, float("nan")],
            "tags": [["a", "b"], []],
        }
        path = tmp_path / "c.parquet"
        pyarrow.parquet.write_table(pa.table(rows), path)

        assert list(read_corpus(path)) == [
            Document("7", "seven", "T", {"day": "2020-01-02", "price": 1.5, "weight": 0.5, "tags": ["a", "b"]}),
            Document("8", "eight", "", {"day": None, "price": None, "weight": None, "tags": []}),
        ]

    def test_a_folder_of_parquet_files_in_the_order_of_their_names(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet

        for name in ("b", "a"):
            (tmp_path / "data").mkdir(exist_ok=True)
            pyarrow.parquet.write_table(pa.table({"id": [name], "text": ["t"]}), tmp_path / "data" / f"{name}.parquet")

        corpus = read_corpus(tmp_path)

        assert [document.doc_id for document in corpus] == ["a", "b"]
        assert corpus.count() == 2

    def test_a_dataset_saved_to_a_folder(self, tmp_path):
        import datasets

        parts = {
            name: datasets.Dataset.from_dict({"_id": [f"{name}-1", f"{name}-2"], "text": ["x", "y"]})
            for name in ("test", "corpus")
        }
        datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")

        assert [document.doc_id for document in read_corpus(tmp_path / "saved")] == ["corpus-1", "corpus-2"]
        assert [document.doc_id for document in read_corpus(tmp_path / "saved", split="test")] == ["test-1", "test-2"]
        assert read_corpus(tmp_path / "saved").count() == 2
        with pytest.raises(
            InputError, match=r"no split 'dev': it has test, corpus|no split 'dev': it has corpus, test"
        ):
            list(read_corpus(tmp_path / "saved", split="dev"))

    def test_other_field_names_when_they_are_given(self, tmp_path):
        path = write_lines(tmp_path / "c.jsonl", {"key": "k", "body": "b", "head": "h", "title": "kept", "id": 3})

        corpus = read_corpus(path, id_field="key", text_field="body", title_field="head")

        assert list(corpus) == [Document("k", "b", "h", {"title": "kept", "id": 3})]

    def test_a_byte_order_mark_and_blank_lines_are_skipped(self, tmp_path):
        path = write(tmp_path / "c.jsonl", b'\xef\xbb\xbf{"_id": "1", "text": "x"}\n\n  \r\n{"_id": "2", "text": "y"}')

        assert [document.doc_id for document in read_corpus(path)] == ["1", "2"]

    def test_a_csv_header_behind_a_byte_order_mark(self, tmp_path):
        path = write(tmp_path / "c.csv", "\ufeffid,text\n1,x\n")

        assert [document.doc_id for document in read_corpus(path)] == ["1"]

    def test_a_csv_field_beyond_the_standard_librarys_limit(self, tmp_path):
        path = write(tmp_path / "c.csv", f"id,text\n1,{'x' * 200_000}\n")

        assert [len(document.text) for document in read_corpus(path)] == [200_000]


class TestPasses:
    def test_each_pass_reads_the_source_again(self, tmp_path):
        path = write_lines(tmp_path / "c.jsonl", GOOD)
        corpus = read_corpus(path)
        first = list(corpus)
        write_lines(path, GOOD, {"_id": "more", "text": "x"})

        assert len(first) == 1
        assert len(list(corpus)) == 2

    def test_two_passes_at_once_do_not_disturb_each_other(self, tmp_path):
        corpus = read_corpus(write_lines(tmp_path / "c.jsonl", GOOD, {"_id": "2", "text": "x"}))

        assert [(a.doc_id, b.doc_id) for a, b in zip(corpus, corpus, strict=True)] == [("good", "good"), ("2", "2")]

    @pytest.mark.parametrize(
        ("name", "content", "count"),
        [("c.jsonl", '{"_id": "1", "text": "x"}\n{"_id": "2", "text": "y"}', 2), ("c.jsonl.gz", "{}\n", None)],
    )
    def test_the_count_is_what_a_glance_tells(self, tmp_path, name, content, count):
        assert read_corpus(write(tmp_path / name, content)).count() == count

    def test_equal_bytes_have_equal_fingerprints_wherever_they_lie(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        here, there = (write_lines(folder / "c.jsonl", GOOD) for folder in (tmp_path, tmp_path / "elsewhere"))
        other = write_lines(tmp_path / "d.jsonl", GOOD | {"_id": "x"})

        assert read_corpus(here).fingerprint() == read_corpus(there).fingerprint()
        assert read_corpus(here).fingerprint() != read_corpus(other).fingerprint()

    def test_an_unchanged_file_is_hashed_once_and_a_changed_one_again(self, tmp_path, monkeypatch):
        path = write_lines(tmp_path / "c.jsonl", GOOD)
        os.utime(path, (1, 1))
        first = read_corpus(path).fingerprint()
        with monkeypatch.context() as reading:
            reading.setattr(Path, "open", lambda *_: pytest.fail("the file is read again"))
            assert read_corpus(path).fingerprint() == first
        write_lines(path, GOOD | {"_id": "x"})
        assert read_corpus(path).fingerprint() != first

    def test_a_corpus_describes_its_source(self, tmp_path):
        path = write_lines(tmp_path / "c.jsonl", GOOD)

        assert read_corpus(path).description == str(path)
        assert str(path) in repr(read_corpus(path))


BAD_LINES = {
    "not JSON": ('{"_id": "1", "text": }', r"not JSON: .* column 22"),
    "a list": ("[1, 2]", r"must be a JSON object .*not a list"),
    "NaN": ('{"_id": "1", "text": "x", "w": NaN}', r"NaN is not a JSON value; write null"),
    "nested beyond reason": ("[" * 100_000, r"not JSON"),
    "no id": ('{"text": "x"}', r"the field '_id' or 'id' or 'doc_id' is missing \(there are 'text'\); id_field"),
    "no text": ('{"_id": "1", "body": "x"}', r"the field 'text' or 'contents' is missing .*'body'.*text_field"),
    "id of a wrong type": ('{"_id": 1.5, "text": "x"}', r"the field '_id' must be a string or an integer, not 1.5"),
    "true as an id": ('{"_id": true, "text": "x"}', r"the field '_id' must be .* not True"),
    "empty id": ('{"_id": " ", "text": "x"}', r"the field '_id' is empty"),
    "null text": ('{"_id": "1", "text": null}', r"the field 'text' must be a string, not None"),
    "title of a wrong type": ('{"_id": "1", "title": ["x"], "text": "x"}', r"the field 'title' must be a string"),
    "nothing to read": ('{"_id": "1", "title": " ", "text": "\\n"}', r"document '1' is empty"),
    "half a character": ('{"_id": "1", "text": "\\ud83d"}', r"half of a surrogate pair"),
    "half a character in metadata": ('{"_id": "1", "text": "x", "m": "\\uDC00"}', r"half of a surrogate pair"),
    "an id that stands above": ('{"_id": "good", "text": "again"}', r"the id 'good' already occurs above"),
    "metadata against itself": ('{"_id": "1", "text": "x", "y": 1, "metadata": {"y": 2}}', r"'y' has different values"),
}


class TestBadLines:
    @pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
    def test_the_error_names_file_line_and_field(self, tmp_path, line, message):
        path = write_lines(tmp_path / "c.jsonl", GOOD, "", line, {"_id": "after", "text": "x"})

        with pytest.raises(InputError, match=rf"c\.jsonl, line 3: .*{message}"):
            list(read_corpus(path))

    @pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
    def test_skipping_records_the_line_and_loses_nothing_beside_it(self, tmp_path, line, message, caplog):
        path = write_lines(tmp_path / "c.jsonl", GOOD, line, {"_id": "after", "text": "x"})
        corpus = read_corpus(path, on_error="skip", skipped_to=tmp_path / "skipped.jsonl")

        assert [document.doc_id for document in corpus] == ["good", "after"]
        assert corpus.skipped == 1
        (record,) = map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())
        assert (record["file"], record["line"]) == (str(path), 2)
        assert record["reason"]
        assert record["raw"] in (line, None) or record["raw"] == json.loads(line)
        assert "skipped 1 of 3 records" in caplog.text

    def test_broken_utf8_is_named_with_its_byte_and_kept_readable(self, tmp_path):
        path = write(tmp_path / "c.jsonl", b'{"_id": "1", "text": "caf\xe9"}\n{"_id": "2", "text": "x"}\n')

        with pytest.raises(InputError, match=r"line 1: not UTF-8: byte 0xe9 at byte 26"):
            list(read_corpus(path))
        corpus = read_corpus(path, on_error="skip", skipped_to=tmp_path / "s.jsonl")
        assert [document.doc_id for document in corpus] == ["2"]
        assert json.loads((tmp_path / "s.jsonl").read_text())["raw"] == '{"_id": "1", "text": "caf\\xe9"}'

    def test_the_documents_before_a_bad_line_are_given_first(self, tmp_path):
        documents = iter(read_corpus(write_lines(tmp_path / "c.jsonl", GOOD, "broken")))

        assert next(documents).doc_id == "good"
        with pytest.raises(InputError):
            next(documents)

    def test_the_file_of_skipped_lines_is_of_the_last_pass(self, tmp_path):
        path = write_lines(tmp_path / "c.jsonl", GOOD, "broken")
        corpus = read_corpus(path, on_error="skip", skipped_to=tmp_path / "skipped.jsonl")
        list(corpus)
        list(corpus)
        assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == corpus.skipped == 1

        write_lines(path, GOOD)
        list(corpus)
        assert not (tmp_path / "skipped.jsonl").exists()
        assert corpus.skipped == 0

    def test_a_title_that_was_asked_for_must_be_there(self, tmp_path):
        path = write_lines(tmp_path / "c.jsonl", {"_id": "1", "title": "T", "text": "x"})

        with pytest.raises(InputError, match="the field 'titel' is missing"):
            list(read_corpus(path, title_field="titel"))


class TestBadTables:
    def test_a_csv_row_with_too_many_fields(self, tmp_path):
        path = write(tmp_path / "c.csv", "id,text\n1,x\n2,y,z\n")

        with pytest.raises(InputError, match=r"c\.csv, line 3: has 3 fields where the header names 2"):
            list(read_corpus(path))

    def test_rows_are_numbered_by_the_line_they_begin_on(self, tmp_path):
        path = write(tmp_path / "c.csv", 'id,text\n1,"over\nthree\nlines"\n\n2,\n')

        with pytest.raises(InputError, match=r"line 6: the document '2' is empty"):
            list(read_corpus(path))

    @pytest.mark.parametrize(
        "bad",
        ['2,"never closed', '2,"closed" too early', "2,caf\udce9", "2,a\rb"],
        ids=["open quote", "text behind a quote", "not UTF-8", "a lone carriage return"],
    )
    def test_a_broken_csv_line_costs_that_line_only(self, tmp_path, bad):
        text = f'id,text\n1,x\n{bad}\n3,"fine, too"\n4,y\n'
        path = write(tmp_path / "c.csv", text.encode("utf-8", "surrogateescape"))

        with pytest.raises(InputError, match=r"c\.csv, line 3: "):
            list(read_corpus(path))
        corpus = read_corpus(path, on_error="skip")
        assert [document.doc_id for document in corpus] == ["1", "3", "4"]
        assert corpus.skipped == 1

    def test_a_header_that_names_a_column_twice(self, tmp_path):
        with pytest.raises(InputError, match=r"line 1: the header must name each column once"):
            list(read_corpus(write(tmp_path / "c.csv", "id,text,text\n1,x,y\n")))

    def test_a_parquet_row_that_json_cannot_hold(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet

        path = tmp_path / "c.parquet"
        pyarrow.parquet.write_table(pa.table({"id": ["1", "2"], "text": ["x", "y"], "raw": [None, b"\0"]}), path)

        with pytest.raises(InputError, match=r"c\.parquet, row 2: the field 'raw' holds bytes"):
            list(read_corpus(path))


class TestUnreadable:
    """A source that is unreadable as a whole raises an error, whatever `on_error` is."""

    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    @pytest.mark.parametrize("name", ["missing.jsonl", "no/such/folder", "missing.csv.gz", "./nothing"])
    def test_nothing_is_there(self, tmp_path, name, on_error):
        with pytest.raises(InputError, match=r"does not exist: pass a BEIR folder"):
            list(read_corpus(tmp_path / name, on_error=on_error))

    def test_an_unknown_ending(self, tmp_path):
        with pytest.raises(InputError, match=r"unknown file extension '\.docx'"):
            read_corpus(write(tmp_path / "c.docx", "x"))

    def test_a_folder_with_nothing_to_read(self, tmp_path):
        with pytest.raises(InputError, match=r"contains no corpus\.jsonl"):
            read_corpus(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"not gzip at all", gzip.compress(b'{"_id": "1", "text": "x"}\n' * 9)[:-12]], ids=["other", "cut"]
    )
    def test_a_damaged_gzip_file(self, tmp_path, content):
        (tmp_path / "c.jsonl.gz").write_bytes(content)

        with pytest.raises(InputError, match=r"c\.jsonl\.gz cannot be read"):
            list(read_corpus(tmp_path / "c.jsonl.gz", on_error="skip"))

    def test_a_damaged_parquet_file(self, tmp_path):
        with pytest.raises(InputError, match=r"c\.parquet is not a readable Parquet file"):
            list(read_corpus(write(tmp_path / "c.parquet", "PAR1 no")))

    @pytest.mark.parametrize("content", ["", "\n\n"])
    def test_a_file_without_documents(self, tmp_path, content):
        with pytest.raises(InputError, match="holds no usable document"):
            list(read_corpus(write(tmp_path / "c.jsonl", content)))

    def test_a_file_of_which_every_line_was_skipped(self, tmp_path):
        with pytest.raises(InputError, match=r"holds no usable document \(2 records skipped\)"):
            list(read_corpus(write(tmp_path / "c.jsonl", "{\n{\n"), on_error="skip"))

    def test_an_empty_csv_has_no_header(self, tmp_path):
        with pytest.raises(InputError, match="the first line must name the columns"):
            list(read_corpus(write(tmp_path / "c.csv", "")))

    def test_a_dataset_that_cannot_be_reached(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

        with pytest.raises(InputError, match=r"'no-such-owner/no-such-set'.*could not load it.*path of a local copy"):
            list(read_corpus("no-such-owner/no-such-set"))

    def test_an_unknown_way_to_treat_errors(self, tmp_path):
        with pytest.raises(InputError, match="on_error must be 'raise' or 'skip'"):
            read_corpus(write_lines(tmp_path / "c.jsonl", GOOD), on_error="ignore")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=60))
def test_seen_ids_are_a_set(ids):
    seen, expected = SeenIds(), set()

    for doc_id in ids:
        assert seen.add(doc_id) is (doc_id not in expected)
        expected.add(doc_id)
    assert len(seen) == len(expected)


def test_seen_ids_stay_a_set_while_the_table_grows():
    seen = SeenIds()

    assert all(seen.add(f"d{number}") for number in range(5000))
    assert not any(seen.add(f"d{number}") for number in range(5000))
    assert len(seen) == 5000
