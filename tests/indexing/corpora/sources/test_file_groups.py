"""Files split into groups, which other machines read as the source itself does."""

import pickle

import pytest

from indexing.corpora.files import read_files
from indexing.corpora.sources.ranges import split_into_ranges
from indexing.errors import InputError


def write(folder, names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Part {number}\n\nlight and water\n\n# More\n\n" + "wave " * 20)


def test_groups_hold_the_records_of_the_source_in_order(tmp_path, monkeypatch):
    write(tmp_path / "docs", ["a.md", "deep/b.md", "c.md", "d.txt"])
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (tmp_path / "docs" / "empty.md").write_text("")
    monkeypatch.chdir(tmp_path)
    source = read_files("docs").source
    groups = split_into_ranges(source, size=250)
    assert [len(group.entries) for group in groups] == [2, 1, 1, 2]
    records = [record for group in groups for record in pickle.loads(pickle.dumps(group)).records()]
    expected = list(source.records())
    assert [record.values for record in records] == [record.values for record in expected]
    assert [record.problem for record in records] == [record.problem for record in expected]
    assert sum(bool(record.problem) for record in records) == 2
    assert [name for group in split_into_ranges(source, size=1) for name, _ in group.entries] == [
        *("a.md", "c.md", "d.txt", "deep/b.md")  # the others are known to be unreadable
    ]
    source.unchanged = {"a.md", "c.md"}
    assert [name for group in split_into_ranges(source) for name, _ in group.entries] == ["d.txt", "deep/b.md"]


def test_a_corpus_without_its_source_makes_the_same_chunks(tmp_path):
    write(tmp_path, ["a.md", "b.txt"])
    corpus = read_files(tmp_path)
    bare = pickle.loads(pickle.dumps(corpus.without_source()))
    chunks = []
    for group in split_into_ranges(corpus.source):
        for record in group.records():
            chunks += bare.stored_documents(record)
    assert chunks == list(corpus) and len(chunks) == 3
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.7 nothing")
    (group,) = split_into_ranges(read_files(tmp_path / "c.pdf").source)
    with pytest.raises(InputError, match="PDF"):
        bare.stored_documents(*group.records())
