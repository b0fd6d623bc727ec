"""Every kind of FAISS index under upserts and deletes, compared with a plain dictionary of vectors."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import InputError, StorageError
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.id_table import IdTable

KINDS = {
    "flat": {"kind": "flat"},
    "hnsw": {"kind": "hnsw", "m": 8},
    "ivf": {"kind": "ivf", "nlist": 4, "nprobe": 4, "training_sample": 200},
    "sq": {"kind": "sq", "training_sample": 200},
    "pq": {"kind": "pq", "training_sample": 300},
    "binary": {"kind": "binary", "rescore_multiplier": 40, "training_sample": 200},
    "binary graph": {"kind": "binary", "graph": True, "kept": "float32", "rescore_multiplier": 40, "m": 8},
    "int8": {"kind": "int8", "training_sample": 200},
    "int8 graph": {"kind": "int8", "graph": True, "kept": "int8", "m": 8, "training_sample": 200},
    "refined": {"kind": "factory", "factory": "IVF4,SQ8,RFlat", "nprobe": 4, "training_sample": 300},
    "rotated": {"kind": "factory", "factory": "PCA8,IVF4,Flat", "nprobe": 4, "training_sample": 200},
    "graph over bytes": {"kind": "factory", "factory": "HNSW8_SQ8", "training_sample": 200},
    "fast scan": {"kind": "factory", "factory": "PQ4x4fs", "training_sample": 300},
}
WHOLE = ("flat", "hnsw", "ivf")
"""Kinds that store full vectors and, on this data, find the exact nearest neighbours."""


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)


def ids(start: int, stop: int) -> list[str]:
    return [f"d{number}" for number in range(start, stop)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def index(tmp_path, kind) -> FaissIndex:
    return FaissIndex.create(tmp_path / "index", 8, matching=list, **KINDS[kind])


def check(index: FaissIndex, kind: str, expected: dict[str, np.ndarray]) -> None:
    """Check that the index holds these vectors and that each is its own nearest neighbour."""
    names = sorted(expected)
    rows = np.stack([expected[name] for name in names])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert len(index) == len(expected)
    assert "d1" in index if "d1" in expected else "d1" not in index
    hits = index.search(rows[:40], 10)
    assert set(hits.doc_ids) <= set(names)
    assert hits.counts.tolist() == [min(10, len(names))] * min(40, len(names))
    top = [ranking.doc_ids[0] for ranking in hits]
    if kind in WHOLE:
        assert top == names[:40]
        np.testing.assert_allclose(index.vectors(names), unit, atol=1e-6)
    else:
        assert np.mean([own in ranking.doc_ids for own, ranking in zip(names, hits, strict=False)]) > 0.8
    lists = [names[:3], names[3:4], names[1:6]][: len(names)]
    exact = np.concatenate([index.vectors(some) @ query for some, query in zip(lists, unit[:3], strict=True)])
    np.testing.assert_allclose(index.score(rows[:3] * 5, lists), exact, atol=2e-5)


def test_upserts_and_deletes_leave_what_a_dictionary_would(index, kind):
    expected: dict[str, np.ndarray] = {}

    def upsert(names: list[str], rows: np.ndarray) -> None:
        index.upsert(names, rows)
        index.upsert(names, rows)
        expected.update(zip(names, rows, strict=True))

    upsert(ids(0, 100), vectors(100, seed=1))
    check(index, kind, expected)
    upsert(ids(50, 400), vectors(350, seed=2))
    check(index, kind, expected)
    assert index.delete([*ids(0, 30), "unknown", "d3", *ids(300, 340), "d399"]) == 71
    for doc_id in [*ids(0, 30), *ids(300, 340), "d399"]:
        del expected[doc_id]
    check(index, kind, expected)
    index.commit(sequence=7)

    for read_only in (False, True):
        again = FaissIndex.open(index.path, read_only=read_only)
        assert again.sequence == 7
        check(again, kind, expected)

    again = FaissIndex.open(index.path)
    again.upsert(["d40", "new"], vectors(2, seed=3))
    expected |= dict(zip(["d40", "new"], vectors(2, seed=3), strict=True))
    again.optimize()
    assert again._parts.total == len(expected)
    check(again, kind, expected)
    again.delete(list(expected))
    again.commit()
    assert len(FaissIndex.open(index.path)) == 0
    assert again.search(vectors(1), 5).counts.tolist() == [0]


def test_only_allowed_documents_are_found_however_many_they_are(index, kind):
    rows = vectors(400, seed=4)
    index.upsert(ids(0, 400), rows)
    index.delete(["d5"])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for allowed in (ids(0, 1), ids(3, 20), ids(0, 300), ["nobody"], []):
        living = [doc_id for doc_id in allowed if doc_id not in ("d5", "nobody")]
        hits = index.search(rows[:3], 5, filter=allowed)
        assert set(hits.doc_ids) <= set(living)
        assert hits.counts.tolist() == [min(5, len(living))] * 3
        if kind in WHOLE and living:
            scores = unit[[int(doc_id[1:]) for doc_id in living]] @ unit[:3].T
            for number, ranking in enumerate(hits):
                best = sorted(zip(-scores[:, number], living, strict=True))[:5]
                assert ranking.doc_ids == [doc_id for _, doc_id in best]


def test_a_filter_without_anything_that_answers_it_is_an_error(tmp_path):
    with FaissIndex.create(tmp_path / "index", 8) as index:
        index.upsert(["a"], vectors(1))
        with pytest.raises(InputError, match="keeps no metadata: search its collection"):
            index.search(vectors(1), 3, filter={"year": 2020})


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 20), min_size=1, max_size=8, unique=True)), max_size=12
    )
)
@pytest.mark.parametrize("name", ["flat", "hnsw"])
def test_any_order_of_changes_leaves_what_a_dictionary_would(tmp_path_factory, name, steps):
    index = FaissIndex.create(tmp_path_factory.mktemp("steps") / "index", 8, **KINDS[name])
    expected: dict[str, np.ndarray] = {}
    for number, (adds, some) in enumerate(steps):
        names = [f"d{one}" for one in some]
        if adds:
            rows = vectors(len(names), seed=number)
            index.upsert(names, rows)
            expected.update(zip(names, rows, strict=True))
        else:
            assert index.delete(names) == len(names & expected.keys())
            expected = {key: row for key, row in expected.items() if key not in names}
        index.commit(sequence=number)
    if expected:
        check(FaissIndex.open(index.path), name, expected)
    assert len(index) == len(expected)


def test_hits_given_out_stay_as_they_were_found(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8)
    index.upsert(ids(0, 20), vectors(20))
    before = index.search(vectors(5), 20)
    names = before.doc_ids
    index.delete(ids(3, 12))
    index.upsert(ids(30, 60), vectors(30))
    assert before.doc_ids == names


def test_a_kind_that_learns_is_exact_until_it_has_its_sample(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8, kind="ivf", nlist=4, training_sample=100)
    rows = vectors(150)
    index.upsert(ids(0, 99), rows[:99])
    index.commit()
    assert type(index._parts.first.index).__name__.startswith("IndexFlat")
    again = FaissIndex.open(index.path)
    again.upsert(ids(99, 150), rows[99:])
    assert type(again._parts.first.index).__name__ == "IndexIVFFlat"
    again.commit()
    assert len(FaissIndex.open(index.path)) == 150

    small = FaissIndex.create(tmp_path / "small", 8, kind="ivf", nlist=50)
    small.upsert(ids(0, 10), rows[:10])
    with pytest.raises(InputError, match="cannot learn from 10 vectors"):
        small.train()
    assert len(small.search(rows[:1], 10)[0]) == 10


def test_a_commit_without_changes_writes_only_the_sequence(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8)
    index.upsert(["a"], vectors(1))
    index.commit(sequence=3)
    files = {file.name: file.stat().st_mtime_ns for file in index.path.iterdir() if file.name != "settings.json"}

    index.commit(sequence=9)

    assert files == {file.name: file.stat().st_mtime_ns for file in index.path.iterdir() if file.name in files}
    assert FaissIndex.open(index.path).sequence == 9
    index.commit()
    assert FaissIndex.open(index.path).sequence == 9


def test_a_reader_sees_commits_of_another_process_after_refresh(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8)
    index.upsert(["a"], vectors(1))
    index.commit(sequence=1)
    reader = FaissIndex.open(index.path, read_only=True)
    program = (
        "import sys, numpy as np; from indexing.indexes.faiss.index import FaissIndex\n"
        "with FaissIndex.open(sys.argv[1]) as index: index.upsert(['b'], np.ones((1, 8))); index.commit(sequence=2)"
    )

    subprocess.run([sys.executable, "-c", program, str(index.path)], check=True, cwd=Path(__file__).parents[4])

    assert (len(reader), reader.sequence) == (1, 1)
    assert reader.search(vectors(1), 5).doc_ids == ["a"]
    assert reader.refresh()
    assert (len(reader), reader.sequence) == (2, 2)
    assert not reader.refresh()
    for change in (lambda: reader.upsert(["c"], vectors(1)), lambda: reader.delete(["a"]), reader.commit):
        with pytest.raises(StorageError, match="reading only"):
            change()


def test_a_generation_that_is_gone_is_named(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8)
    index.commit()
    settings_file = index.path / "settings.json"
    settings_file.write_text(json.dumps(json.loads(settings_file.read_text()) | {"generation": 5}))
    with pytest.raises(StorageError, match=r"vectors-5\.faiss is missing"):
        FaissIndex.open(index.path)


def test_scores_of_unknown_documents_are_refused(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8)
    index.upsert(["a"], vectors(1))
    with pytest.raises(InputError, match="'b' is not in the index"):
        index.score(vectors(1), [["a", "b"]])
    with pytest.raises(InputError, match="1 list of candidates for 2 queries"):
        index.score(vectors(2), [["a"]])
    assert index.score(vectors(2), [[], []]).tolist() == []


def test_memory_is_estimated_for_each_kind(tmp_path):
    sizes = {}
    for name in ("flat", "hnsw", "ivf", "sq"):
        index = FaissIndex.create(tmp_path / name, 8, **KINDS[name])
        index.upsert(ids(0, 300), vectors(300))
        sizes[name] = index.memory_bytes
    assert sizes["sq"] == 300 * 8 and sizes["flat"] == 300 * 32 and sizes["ivf"] == 300 * 40
    assert sizes["hnsw"] > sizes["flat"] + 300 * 4 * 16


@pytest.mark.parametrize("use", ["filter", "score", "vectors"])
def test_threads_that_read_vectors_first_wait_until_they_are_mapped(tmp_path, monkeypatch, use):
    """FAISS says that an index of inverted lists has a map of its vectors before the map is filled."""
    import faiss

    written = FaissIndex.create(tmp_path / "index", 8, **KINDS["ivf"])
    written.upsert(ids(0, 300), vectors(300))
    written.commit()
    index = FaissIndex.open(tmp_path / "index", read_only=True, matching=lambda _: ids(0, 9))
    begun, make = [], faiss.IndexIVF.make_direct_map

    def make_slowly(lists, *arguments):
        begun.append(1)
        time.sleep(0.1)
        make(lists, *arguments)

    monkeypatch.setattr(faiss.IndexIVF, "make_direct_map", make_slowly)
    uses = {
        "filter": lambda: index.search(vectors(2), 3, {"a": 1}).scores.tolist(),
        "score": lambda: index.score(vectors(1), [ids(0, 9)]).tolist(),
        "vectors": lambda: index.vectors(ids(0, 9)).tolist(),
    }
    with ThreadPoolExecutor(4) as threads:
        results = [future.result() for future in [threads.submit(uses[use]) for _ in range(4)]]
    assert len(begun) == 1 and all(result == results[0] for result in results)


def test_an_id_table_lends_arrays_that_never_change():
    table = IdTable(["a", "b", "c", "d"])
    lent = table.strings
    table.append(["e"])
    assert lent.tolist() == ["a", "b", "c", "d"] and table.strings.tolist() == ["a", "b", "c", "d", "e"]
    table.bury(np.array([1]))
    assert (table.living, table.dead, table.alive().tolist()) == (4, 1, [True, False, True, True, True])
    assert table.positions(["c", "b", "e"]).tolist() == [2, -1, 4] and lent.tolist() == ["a", "b", "c", "d"]
