"""Behaviour common to both Lucene indexes: upserts, deletes, sequences, readers in other processes, merging."""

import subprocess
import sys
from pathlib import Path

import pytest

from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.indexes.lucene.bm25 import Bm25Index
from lucene_documents import upsert_documents


def documents(**texts: str) -> list[Document]:
    return [Document(doc_id, text) for doc_id, text in texts.items()]


def found(index: Bm25Index, query: str) -> list[str]:
    return index.search([query], 10)[0].doc_ids


def in_another_process(path: Path, program: str) -> None:
    head = "import sys; from indexing.indexes.lucene.bm25 import Bm25Index\n"
    subprocess.run([sys.executable, "-c", head + program, str(path)], check=True, cwd=Path(__file__).parents[4])


def test_an_upsert_done_twice_is_one_document(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        for _ in range(2):
            upsert_documents(index, documents(d1="fox", d2="dog"))
        upsert_documents(index, documents(d2="cat"))

        assert (len(index), found(index, "fox dog cat")) == (2, ["d1", "d2"])
        assert found(index, "dog") == []


def test_a_commit_records_a_sequence_and_keeps_it(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        assert index.sequence == 0
        upsert_documents(index, documents(d1="fox"))
        index.commit(sequence=41)
        index.commit(sequence=42)
        assert index.sequence == 42
    for read_only in (False, True):
        with Bm25Index.open(tmp_path / "index", read_only=read_only) as index:
            assert (index.sequence, found(index, "fox")) == (42, ["d1"])


def test_what_was_not_committed_does_not_move_the_sequence(tmp_path):
    index = Bm25Index.create(tmp_path / "index")
    upsert_documents(index, documents(d1="fox"))
    index.commit(sequence=1)
    upsert_documents(index, documents(d2="fox"))
    index.close()

    with Bm25Index.open(tmp_path / "index", read_only=True) as again:
        assert (again.sequence, len(again)) == (1, 1)


def test_a_reader_sees_commits_of_another_process_after_refresh(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        upsert_documents(index, documents(d1="fox"))
        index.commit(sequence=1)
    with Bm25Index.open(tmp_path / "index", read_only=True) as reader:
        in_another_process(
            tmp_path / "index",
            "with Bm25Index.open(sys.argv[1]) as index:\n"
            "    index.upsert(['d2'], ['fox']); index.delete(['d1']); index.commit(sequence=2)",
        )

        assert (found(reader, "fox"), reader.sequence) == (["d1"], 1)
        assert reader.refresh()
        assert (found(reader, "fox"), reader.sequence) == (["d2"], 2)
        assert not reader.refresh()


def test_optimize_makes_scores_those_of_a_clean_build(tmp_path):
    texts = {f"d{number}": f"common word{number % 7} " * (1 + number % 5) for number in range(300)}
    with Bm25Index.create(tmp_path / "clean") as clean:
        upsert_documents(clean, documents(**texts))
        expected = clean.search(["common word3"], 300)
    with Bm25Index.create(tmp_path / "changed") as index:
        first = {
            doc_id: "common word3 other" if number % 2 else text for number, (doc_id, text) in enumerate(texts.items())
        }
        upsert_documents(index, documents(**first, x1="common", x2="word3"))
        index.commit(sequence=5)
        upsert_documents(index, documents(**dict(list(texts.items())[1::2])))
        index.delete(["x1", "x2"])
        index.commit(sequence=6)
        before = index.search(["common word3"], 300)

        index.optimize()

        after = index.search(["common word3"], 300)
        assert before.scores.tolist() != expected.scores.tolist()
        assert (after.doc_ids, after.scores.tolist()) == (expected.doc_ids, expected.scores.tolist())
        assert index.sequence == 6
    with Bm25Index.open(tmp_path / "changed") as again:
        assert again.sequence == 6 and len(again) == 300


def test_a_reader_does_not_optimize(tmp_path):
    Bm25Index.create(tmp_path / "index").close()
    with Bm25Index.open(tmp_path / "index", read_only=True) as reader, pytest.raises(StorageError, match="reading"):
        reader.optimize()
    with Bm25Index.open(tmp_path / "index") as index, pytest.raises(InputError, match="segments must be at least 1"):
        index.optimize(0)
