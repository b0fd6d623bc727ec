"""Small changes of an index are written as parts beside what is there, and found as a clean build finds them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from indexing.disk import save_strings
from indexing.errors import StorageError
from indexing.indexes.faiss.index import FaissIndex

WIDTH, SIZE = 8, 400
KINDS = {
    "flat": {"kind": "flat"},
    "hnsw": {"kind": "hnsw", "m": 8},
    "ivf": {"kind": "ivf", "nlist": 4, "nprobe": 4, "training_sample": 300},
    "sq": {"kind": "sq", "training_sample": 300},
    "pq": {"kind": "pq", "training_sample": 300},
    "int8": {"kind": "int8", "training_sample": 300, "rescore_multiplier": 40},
    "binary graph": {"kind": "binary", "graph": True, "kept": "float32", "rescore_multiplier": 40, "m": 8},
    "fast scan": {"kind": "factory", "factory": "PQ4x4fs", "training_sample": 300},
    "rotated": {"kind": "factory", "factory": "PCA8,IVF4,Flat", "nprobe": 4, "training_sample": 300},
}
FAST = ("flat", "hnsw", "ivf", "sq")
EXACT = ("flat", "hnsw", "ivf")
"""Kinds that find the exact nearest neighbours in this data, and score them exactly."""


def vectors(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)


def ids(numbers: range) -> list[str]:
    return [f"d{number}" for number in numbers]


def updates() -> Iterator[tuple[list[str], np.ndarray, list[str]]]:
    """Ids and rows to store, and ids to delete, of eight small updates."""
    for number in range(8):
        names = [*ids(range(number, SIZE, 101)), *ids(range(1000 + 4 * number, 1004 + 4 * number))]
        yield names, vectors(len(names), seed=10 + number), ids(range(200 + number, 203 + number))


def build(path: Path, kind: str) -> FaissIndex:
    """Write an index of `SIZE` documents, and open it again."""
    with FaissIndex.create(path, WIDTH, **KINDS[kind]) as index:
        index.upsert(ids(range(SIZE)), vectors(SIZE, seed=1))
    return FaissIndex.open(path, matching=list)


def dictionary(count: int) -> dict[str, np.ndarray]:
    """Return the vectors by id that the index holds after the first updates."""
    held = dict(zip(ids(range(SIZE)), vectors(SIZE, seed=1), strict=True))
    for names, rows, gone in [*updates()][:count]:
        held.update(zip(names, rows, strict=True))
        held = {name: row for name, row in held.items() if name not in gone}
    return held


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture(params=[*FAST, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in FAST)])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_small_commit_leaves_the_large_files_alone_and_writes_little(tmp_path, kind):
    index = build(tmp_path / "index", kind)
    before = {file.name: file.stat().st_mtime_ns for file in index.path.iterdir() if file.name != "settings.json"}

    for number, (names, rows, gone) in zip(range(3), updates(), strict=False):
        index.upsert(names, rows)
        index.delete(gone)
        index.commit(sequence=number)

    after = {file.name: file.stat().st_mtime_ns for file in index.path.iterdir()}
    assert {name: after.get(name) for name in before} == before
    assert len(after) <= len(before) + 8  # the settings, tombstones, and at most three parts


def test_hits_after_updates_are_those_of_a_clean_build(tmp_path, kind):
    index = build(tmp_path / "index", kind)
    queries = vectors(40, seed=2)
    for count, (names, rows, gone) in enumerate(updates(), 1):
        index.upsert(names, rows)
        index.delete(gone)
        index.commit(sequence=count)
        if count % 3:
            continue
        held = dictionary(count)
        clean = FaissIndex.create(tmp_path / f"clean-{count}", WIDTH, matching=list, **KINDS[kind])
        clean.upsert(list(held), np.stack(list(held.values())))
        for again in (index, FaissIndex.open(index.path, read_only=True, matching=list)):
            assert len(again) == len(held)
            for filter in (None, [*held][::2], [*held][:9]):
                for some in (queries[:1], queries):
                    found, expected = again.search(some, 10, filter), clean.search(some, 10, filter)
                    if kind in EXACT:
                        assert found.doc_ids == expected.doc_ids
                        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
                    assert found.counts.tolist() == expected.counts.tolist() and set(found.doc_ids) <= set(held)
            unit = np.stack(list(held.values()))
            unit /= np.linalg.norm(unit, axis=1, keepdims=True)
            np.testing.assert_allclose(again.vectors(list(held)), unit, atol=1e-6 if kind in EXACT else 1)


def test_ties_are_resolved_by_id_across_parts_and_past_replaced_vectors(tmp_path):
    index = build(tmp_path / "index", "flat")
    one = np.eye(WIDTH, dtype=np.float32)[:1]
    index.upsert(ids(range(0, 120, 2)), np.repeat(one, 60, axis=0))
    index.commit()
    index.upsert(ids(range(0, 60, 2)), np.repeat(-one, 30, axis=0))
    index.commit()
    index.upsert(["d0", "zz"], np.repeat(one, 2, axis=0))

    expected = sorted(["d0", "zz", *ids(range(60, 120, 2))])
    for queries in (one, np.repeat(one, 30, axis=0)):
        for k in (1, 7, 32):
            assert all(ranking.doc_ids == expected[:k] for ranking in index.search(queries, k))


@pytest.mark.parametrize(("kind", "most"), [("flat", 0.25), ("hnsw", 0.1), ("ivf", 0.1)])
def test_later_parts_are_merged_beyond_a_share_and_by_optimize(tmp_path, kind, most):
    index = build(tmp_path / "index", kind)
    for number in range(30):
        index.upsert([f"new-{number}-{one}" for one in range(10)], vectors(10, seed=number))
        index.finish_indexing()
        index.commit()
        assert index._parts.later <= most * index._parts.first.size
        assert len([*index._parts.placed()]) <= (6 if kind == "flat" else 2)
    assert index._parts.first.size > SIZE
    index.upsert(["one", "two"], vectors(2, seed=99))
    index.delete(["d1"])
    index.commit()
    assert index._parts.later
    index.optimize()
    index.commit()
    assert not index._parts.later and len(names_in(index.path)) == 3
    again = FaissIndex.open(index.path)
    assert (len(again), again._parts.total) == (SIZE + 301, SIZE + 301)


def test_a_reader_keeps_its_state_while_parts_are_written_merged_and_removed(tmp_path, kind):
    index = build(tmp_path / "index", kind)
    reader = FaissIndex.open(index.path, read_only=True)
    queries = vectors(25, seed=5)
    before = reader.search(queries, 10)
    for number, (names, rows, gone) in enumerate(updates()):
        index.upsert(names, rows)
        index.delete(gone)
        if number == 6:
            index.optimize()
        index.commit(sequence=number)
    after = reader.search(queries, 10)
    assert (after.doc_ids, after.scores.tolist()) == (before.doc_ids, before.scores.tolist())
    assert reader.refresh() and len(reader) == len(dictionary(8))
    assert reader.search(queries, 10).doc_ids == index.search(queries, 10).doc_ids


def test_a_commit_that_is_killed_leaves_the_old_state_and_the_next_one_cleans_up(tmp_path, kind):
    """A kill before ``settings.json`` is replaced leaves the new files beside the old; one after it, the old ones."""
    index = build(tmp_path / "index", kind)
    names, rows, gone = next(updates())
    old = tmp_path / "old"
    shutil.copytree(index.path, old)
    index.upsert(names, rows)
    index.delete(gone)
    index.commit(sequence=1)
    for settings in (old / "settings.json", index.path / "settings.json"):
        killed = tmp_path / f"killed-{settings.parent.name}"
        shutil.copytree(old, killed)
        shutil.copytree(index.path, killed, dirs_exist_ok=True)
        (killed / "vectors-9.faiss").write_bytes(b"half of a part")
        shutil.copyfile(settings, killed / "settings.json")
        again = FaissIndex.open(killed)
        assert len(again) == (SIZE if settings.parent == old else len(dictionary(1)))
        again.upsert(names, rows)
        again.delete(gone)
        again.commit(sequence=1)
        assert len(FaissIndex.open(killed)) == len(dictionary(1))
        assert "vectors-9.faiss" not in names_in(killed)


def test_an_index_of_an_earlier_version_is_opened_and_changed(tmp_path):
    """Earlier versions wrote one generation, with empty ids for tombstones, and settings without parts."""
    path = tmp_path / "index"
    path.mkdir()
    rows = vectors(40, seed=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    graph = faiss.IndexHNSWFlat(WIDTH, 8, faiss.METRIC_INNER_PRODUCT)
    graph.add(rows)
    faiss.write_index(graph, str(path / "vectors-3.faiss"))
    save_strings(path / "ids-3.npz", ["", *ids(range(1, 40))])
    chosen = {"dimension": WIDTH, "kind": "hnsw", "m": 8}
    stored = {"backend": "faiss", "format": 1, "count": 39, "settings": chosen, "generation": 3, "sequence": 5}
    (path / "settings.json").write_text(json.dumps(stored))

    index = FaissIndex.open(path)
    assert (len(index), index.sequence) == (39, 5)
    index.upsert(["d7", "new"], -rows[[7, 8]])
    index.commit(sequence=6)

    again = FaissIndex.open(path, read_only=True)
    assert (len(again), again.sequence) == (40, 6)
    assert again.search(-rows[7:9], 1).doc_ids == ["d7", "new"]
    assert {"vectors-3.faiss", "ids-3.npz"} <= names_in(path)
    assert json.loads((path / "settings.json").read_text())["format"] == 2  # which earlier versions refuse


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_part_that_is_missing_or_damaged_is_named(tmp_path, kind):
    index = build(tmp_path / "index", kind)
    index.upsert(["d1", "new"], vectors(2, seed=3))
    index.commit()
    part = max(index.path.glob("vectors-*.faiss"), key=lambda file: int(file.stem.rpartition("-")[2]))
    deleted = next(index.path.glob("deleted-*.npy"))
    for file in (part, part.with_name(part.name.replace("vectors", "ids").replace("faiss", "npz")), deleted):
        content = file.read_bytes()
        file.write_bytes(b"rubbish")
        with pytest.raises(StorageError, match=f"{file.name} cannot be read"):
            FaissIndex.open(index.path)
        file.unlink()
        with pytest.raises(StorageError, match=f"{file.name} is missing"):
            FaissIndex.open(index.path)
        file.write_bytes(content)
    assert len(FaissIndex.open(index.path)) == SIZE + 1


def test_a_long_write_goes_into_the_graph_it_began(tmp_path):
    """Commits between the batches of one write do not begin parts that a merge would index again."""
    index = FaissIndex.create(tmp_path / "index", WIDTH, kind="hnsw", m=8)
    for number in range(12):
        index.upsert(ids(range(50 * number, 50 * number + 50)), vectors(50, seed=number))
        index.commit(sequence=number)
    assert index._parts.later == 0 and index.memory_bytes > 600 * WIDTH * 4
    index.finish_indexing()
    index.commit(sequence=12)
    assert index.memory_bytes == 0  # mapped from here on
    index.upsert(["one"], vectors(1, seed=50))
    assert index._parts.later == 1


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_is_deleted_before_the_first_commit_of_vectors_is_not_found(tmp_path, kind):
    """The first part is empty then, and begins where the next one does."""
    with FaissIndex.create(tmp_path / "index", WIDTH, **KINDS[kind]) as index:
        index.commit()
        index.upsert(["a", "b"], vectors(2, seed=1))
        index.delete(["b"])
        for k in (1, 20):
            assert list(index.search(vectors(2, seed=1)[1:], k)[0].doc_ids) == ["a"]
