import json

import numpy as np
import pytest
from scipy import sparse

from indexing.errors import InputError
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.lucene.json_vectors import read_json_vectors, read_vocabulary, write_json_vectors
from indexing.indexes.lucene.jvm import java_class

VOCABULARY = ["ka", "##lo", "日本", "|", "mi", "[unused1]"]


@pytest.fixture
def weights() -> sparse.csr_matrix:
    matrix = sparse.random(70, len(VOCABULARY), 0.5, "csr", np.float32, np.random.default_rng(0))
    matrix.data *= 3
    return matrix


def ids(start: int, stop: int) -> list[str]:
    return [f"d{number}" for number in range(start, stop)]


def test_what_is_written_is_read_again_as_the_same_impacts(tmp_path, weights):
    batches = [(ids(0, 40), weights[:40]), (ids(40, 70), weights[40:])]
    assert write_json_vectors(tmp_path / "out", batches, VOCABULARY, documents_a_file=25) == 70
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [f"part-0000{n}.jsonl" for n in range(3)]

    read = list(read_json_vectors(tmp_path / "out", VOCABULARY, batch_size=32))

    assert [len(names) for names, _ in read] == [32, 32, 6]
    assert [name for names, _ in read for name in names] == ids(0, 70)
    impacts = np.rint(sparse.vstack([rows for _, rows in read]).toarray() * np.float32(100))
    assert (impacts == np.rint(weights.toarray() * np.float32(100))).all()
    assert set(read_vocabulary(tmp_path / "out")) <= set(VOCABULARY)


def test_anserini_indexes_it_to_what_our_own_index_holds(tmp_path, weights):
    write_json_vectors(tmp_path / "collection", [(ids(0, 70), weights)], VOCABULARY)
    arguments = ["-collection", "JsonVectorCollection", "-input", str(tmp_path / "collection")]
    arguments += ["-index", str(tmp_path / "theirs"), "-generator", "DefaultLuceneDocumentGenerator"]
    java_class("io.anserini.index.IndexCollection").main([*arguments, "-impact", "-pretokenized", "-threads", "1"])
    with ImpactIndex.create(tmp_path / "ours", vocabulary=VOCABULARY) as ours:
        for names, rows in read_json_vectors(tmp_path / "collection", VOCABULARY):
            ours.upsert(names, rows)

    found = []
    for path in (tmp_path / "ours", tmp_path / "theirs"):
        searcher = java_class("io.anserini.search.SimpleImpactSearcher")(str(path))
        for term in VOCABULARY:
            query = java_class("java.util.HashMap")()
            query.put(term, java_class("java.lang.Integer")(1))
            found.append([(hit.docid, hit.score) for hit in searcher.search(query, 100)])
        searcher.close()
    assert found[: len(VOCABULARY)] == found[len(VOCABULARY) :]
    assert sum(map(len, found)) > 100


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: not JSON"),
        ('{"vector": {}}', "line 2: the id is missing"),
        ('{"id": "d", "vector": [1]}', "line 2: the vector, an object of terms and impacts, is missing"),
        ('{"id": "d", "vector": {"ka": "3"}}', "line 2: the impact of the term 'ka' is '3'"),
        ('{"id": "d", "vector": {"zu": 3}}', "line 2: the term 'zu' is not in the vocabulary"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    file = tmp_path / "part.jsonl"
    file.write_text(json.dumps({"id": 1, "vector": {"ka": 2}}) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=says):
        list(read_json_vectors(file, VOCABULARY))


def test_folders_without_or_with_files_are_refused(tmp_path, weights):
    with pytest.raises(InputError, match=r"contains no \.jsonl"):
        list(read_json_vectors(tmp_path, VOCABULARY))
    (tmp_path / "there.txt").write_text("x")
    with pytest.raises(InputError, match="not an empty folder"):
        write_json_vectors(tmp_path, [(ids(0, 70), weights)], VOCABULARY)
    with pytest.raises(InputError, match="but 3 ids"):
        write_json_vectors(tmp_path / "new", [(ids(0, 3), weights)], VOCABULARY)
