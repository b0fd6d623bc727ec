"""Ranges of a corpus: together they hold every record exactly once."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.corpora.corpus import read_corpus
from indexing.corpora.sources import open_source
from indexing.corpora.sources.ranges import split_into_ranges
from indexing.errors import InputError


def values(source, **sizes):
    return [record.values for part in split_into_ranges(source, **sizes) for record in part.records()]


@given(
    texts=st.lists(st.text(alphabet="aé漢 ", max_size=20), min_size=1, max_size=12),
    blank=st.sets(st.integers(0, 11)),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    last=st.booleans(),
    size=st.integers(1, 200),
)
def test_lines_are_read_once_wherever_the_cuts_fall(tmp_path_factory, texts, blank, end, mark, last, size):
    path = tmp_path_factory.mktemp("lines") / "corpus.jsonl"
    lines = [
        json.dumps({"_id": str(number), "text": text}, ensure_ascii=False) + end * (1 + (number in blank))
        for number, text in enumerate(texts)
    ]
    written = "".join(lines) if last else "".join(lines).rstrip("\r\n")
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + written.encode())
    source = open_source(path)
    assert values(source, size=size) == [record.values for record in source.records()]


@pytest.mark.parametrize(("rows", "group"), [(1, 7), (7, 7), (10, 7), (7, 10), (25, 4), (1000, 4)])
def test_rows_are_read_once_whatever_the_row_groups(tmp_path, rows, group):
    for name, count in (("a", 50), ("b", 23)):
        table = pyarrow.table({"_id": [f"{name}{number}" for number in range(count)], "text": ["t"] * count})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=group)
    source = open_source(tmp_path)
    assert values(source, rows=rows) == [record.values for record in source.records()]


def test_a_folder_of_parts_is_one_corpus_in_the_order_of_their_names(tmp_path):
    for part in (1, 0, 2):
        (tmp_path / f"part-{part}.jsonl").write_text(json.dumps({"_id": f"d{part}", "text": "t"}) + "\n")
    corpus = read_corpus(tmp_path)
    assert [document.doc_id for document in corpus] == ["d0", "d1", "d2"]
    assert [part["_id"] for part in values(corpus.source, size=5)] == ["d0", "d1", "d2"]


def test_a_source_that_cannot_be_split_is_refused(tmp_path):
    (tmp_path / "corpus.csv").write_text("id,text\n1,a\n")
    with pytest.raises(InputError, match=r"corpus\.csv cannot be split"):
        split_into_ranges(open_source(tmp_path / "corpus.csv"))
