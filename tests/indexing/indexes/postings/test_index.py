"""PostingsIndex against SciPy's products of the same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array, vstack

from indexing.errors import InputError, StorageError
from indexing.indexes.postings import index as postings_index
from indexing.indexes.postings import segment as postings_segment
from indexing.indexes.postings.index import PostingsIndex, best_positive

COLUMNS = 60


def weights(rows: int, seed: int, *, columns: int = COLUMNS, density: float = 0.2) -> csr_matrix:
    """Random weights above 0; powers of two, so that sums in any order are equal, with many ties."""
    rng = np.random.default_rng(seed)
    return csr_matrix(
        random_array(
            (rows, columns),
            density=density,
            rng=rng,
            data_sampler=lambda size: 2.0 ** -rng.integers(0, 4, size),
            dtype=np.float32,
        )
    )


def names(count: int, first: int = 0) -> list[str]:
    return [f"d{number:05d}" for number in range(first, first + count)]


def check(index: PostingsIndex, held: dict[str, csr_matrix], queries: csr_matrix, k: int) -> None:
    """Compare hits, scores and summands with the products of all rows, ties by id."""
    ids = sorted(held)
    every = (queries @ vstack([held[doc_id] for doc_id in ids]).T).toarray()
    hits = index.search(queries, k)
    explained = iter(index.matched_terms(queries, hits, [f"t{column}" for column in range(queries.shape[1])]) or [])
    for row, ranking in enumerate(hits):
        order = np.argsort(-every[row], kind="stable")
        order = order[every[row][order] > 0][:k]
        assert list(ranking.doc_ids) == [ids[place] for place in order]
        np.testing.assert_array_equal(ranking.scores, every[row][order])
        np.testing.assert_array_equal(index.score(queries[row], [list(ranking.doc_ids)]), ranking.scores)
        for score in ranking.scores:
            terms = next(explained)
            assert sum(summand for _, summand in terms) == score
            assert list(terms) == sorted(terms, key=lambda term: (-term[1], term[0]))


@pytest.mark.parametrize("in_one_pass", [True, False])
def test_hits_are_the_exact_best_through_updates_deletes_and_merges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_one_pass: bool
) -> None:
    monkeypatch.setattr(postings_segment, "POSTINGS_AT_ONCE", 50)
    monkeypatch.setattr(postings_index, "FLUSH_POSTINGS", 900)
    monkeypatch.setattr(postings_index, "BLOCK", 4)
    if not in_one_pass:
        monkeypatch.setattr(postings_segment, "_product", lambda: None)
    rng, held, queries = np.random.default_rng(0), {}, weights(9, 1, density=0.1)
    index = PostingsIndex.create(tmp_path / "i", COLUMNS)
    for step in range(12):
        ids = list(rng.permutation(names(200))[:60])
        rows = weights(60, 10 + step)
        index.upsert(ids, rows)
        held |= {doc_id: rows[at] for at, doc_id in enumerate(ids)}
        gone = list(rng.permutation(sorted(held))[:15])
        assert index.delete([*gone, "never"]) == 15
        for doc_id in gone:
            del held[doc_id]
        if step % 3 == 1:
            index.commit(step)
        if step % 4 == 2:
            index.commit()
            index.close()
            index = PostingsIndex.open(tmp_path / "i")
        if step == 8:
            index.optimize()
        assert len(index) == len(held)
        check(index, held, queries, 1 + 5 * (step % 3))
    index.commit(99)
    with PostingsIndex.open(tmp_path / "i", read_only=True) as reader:
        assert reader.sequence == 99
        check(reader, held, queries, 7)
    numbers = {file.name for file in (tmp_path / "i").iterdir()}
    assert len([name for name in numbers if name.startswith("ids-")]) == len(index._segments) <= 3


def test_both_ways_of_adding_are_equal_bit_by_bit() -> None:
    rng = np.random.default_rng(0)
    places = np.sort(rng.choice(500, 200, replace=False)).astype(np.int32)
    found = []
    for product in (postings_segment._product(), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postings_segment, "_product", lambda product=product: product)
            scores = np.linspace(0, 1, 500, dtype=np.float32)
            postings_segment.add_scaled(places, np.sqrt(places).astype(np.float32), np.float32(0.3), scores)
            found.append(scores)
    assert postings_segment._product() is not None
    np.testing.assert_allclose(*found, rtol=2e-7)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 12), st.integers(1, 8))
def test_the_best_scores_are_found_with_all_ties_of_the_last(values: list[int], k: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings_index, "BLOCK", block)
        found = best_positive(np.array(values, np.float32), k)
    positive = sorted((value for value in values if value), reverse=True)
    last = positive[min(k, len(positive)) - 1] if positive else 1
    assert found.tolist() == [at for at, value in enumerate(values) if value >= last]


def test_a_commit_writes_what_is_new_only(tmp_path: Path) -> None:
    path = tmp_path / "i"
    with PostingsIndex.create(path, COLUMNS) as index:
        index.upsert(names(3000), weights(3000, 0))
    before = {file.name: file.stat().st_ino for file in path.iterdir() if file.suffix != ".json"}
    with PostingsIndex.open(path) as index:
        index.upsert(names(30, 2990), weights(30, 1))
    after = {file.name: file.stat() for file in path.iterdir() if file.suffix != ".json"}
    assert before.items() <= {name: state.st_ino for name, state in after.items()}.items()
    new = sum(state.st_size for name, state in after.items() if name not in before)
    assert new < 0.1 * sum(state.st_size for state in after.values())


def test_a_reader_keeps_its_state_until_it_refreshes(tmp_path: Path) -> None:
    path, first, second = tmp_path / "i", weights(50, 0), weights(50, 1)
    held = {doc_id: first[at] for at, doc_id in enumerate(names(50))}
    with PostingsIndex.create(path, COLUMNS) as index:
        index.upsert(names(50), first)
    with PostingsIndex.open(path, read_only=True) as reader, PostingsIndex.open(path) as writer:
        assert not reader.refresh()
        writer.upsert(names(50, 25), second)
        writer.delete(["d00001"])
        writer.optimize()
        writer.commit(5)
        check(reader, held, weights(4, 2), 9)
        assert reader.refresh() and reader.sequence == 5 and len(reader) == 74
        held |= {doc_id: second[at] for at, doc_id in enumerate(names(50, 25))}
        del held["d00001"]
        check(reader, held, weights(4, 2), 9)
        with pytest.raises(StorageError, match="is open for reading only"):
            reader.delete(["d00002"])


def damaged_starts(path: Path) -> None:
    np.save(path / "segment-1.starts.npy", np.zeros(COLUMNS + 1, np.int64))


def fewer_columns(path: Path) -> None:
    (path / "settings.json").write_text((path / "settings.json").read_text().replace('"columns": 60', '"columns": 59'))


def lost(name: str) -> Any:
    return lambda path: (path / name).unlink()


def torn(name: str) -> Any:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:40])


def of_other_numbers(path: Path) -> None:
    np.save(path / "segment-1.documents.npy", np.load(path / "segment-1.documents.npy").astype(np.int64))


def beyond(path: Path) -> None:
    np.save(path / "deleted-2.npy", np.array([10_000]))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damaged_starts, "does not fit the postings beside it"),
        (fewer_columns, "segment 1 has 60 columns of 59"),
        (lost("segment-1.weights.npy"), "is damaged: .*segment-1.weights.npy is missing"),
        (lost("ids-1.npz"), "ids-1.npz is missing"),
        (lost("settings.json"), "is not a Postings index"),
        (torn("segment-1.documents.npy"), "segment-1.documents.npy is damaged"),
        (torn("ids-1.npz"), "ids-1.npz is damaged"),
        (torn("deleted-2.npy"), "deleted-2.npy is damaged"),
        (of_other_numbers, "does not fit the postings beside it"),
        (beyond, "deleted-2.npy is damaged: it names positions that do not exist"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Any, says: str) -> None:
    path = tmp_path / "i"
    with PostingsIndex.create(path, COLUMNS) as index:
        index.upsert(names(40), weights(40, 0))
        index.delete(["d00003"])
    damage(path)
    with pytest.raises(StorageError, match=says):
        PostingsIndex.open(path)


@pytest.mark.parametrize("number", [40, -1, 2**31 - 1])
def test_a_document_that_does_not_exist_is_damage_and_never_written_to(tmp_path: Path, number: int) -> None:
    """SciPy adds up without bounds, so that such a number would overwrite other memory of the process."""
    path = tmp_path / "i"
    with PostingsIndex.create(path, COLUMNS) as index:
        index.upsert(names(40), weights(40, 0))
    documents = np.load(path / "segment-1.documents.npy")
    documents[len(documents) // 2] = number
    np.save(path / "segment-1.documents.npy", documents)
    says = "segment-1.documents.npy is damaged: it names documents that do not exist"
    everything = csr_matrix(np.ones((1, COLUMNS), np.float32))
    index = PostingsIndex.open(path)
    for use in (
        lambda: index.search(everything, 5),
        lambda: index.score(everything, [["d00001"]]),
        lambda: (index.delete(["d00001"]), index.optimize()),
    ):
        with pytest.raises(StorageError, match=says):
            use()


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path, rows = tmp_path / "i", weights(10, 0)
    with PostingsIndex.create(path, COLUMNS) as index:
        index.upsert(names(10), rows)
    index = PostingsIndex.open(path)
    index.upsert(names(10, 10), weights(10, 1))
    index.search(weights(1, 2), 1)  # writes a segment, as a long write does
    (path / "foreign.npy").write_bytes(b"mine")
    assert (path / "segment-2.starts.npy").exists()
    with PostingsIndex.open(path) as again:
        assert not (path / "segment-2.starts.npy").exists() and (path / "foreign.npy").exists()
        check(again, {doc_id: rows[at] for at, doc_id in enumerate(names(10))}, weights(3, 3), 4)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (csr_matrix(np.full((1, COLUMNS), -1.0, np.float32)), "document 'a' has a negative weight"),
        (csr_matrix(np.full((1, COLUMNS), np.nan, np.float32)), "the weights of 'a' hold a NaN or an infinity"),
        (csr_matrix((1, COLUMNS + 1), dtype=np.float32), "has a vocabulary of 60 terms"),
        (np.ones((1, COLUMNS), np.float32), "has a vocabulary of 60 terms"),
    ],
)
def test_wrong_weights_are_refused_and_nothing_is_stored(tmp_path: Path, rows: Any, says: str) -> None:
    with PostingsIndex.create(tmp_path / "i", COLUMNS) as index:
        with pytest.raises(InputError, match=says):
            index.upsert(["a"], rows)
        assert len(index) == 0
        for query in (rows,):
            with pytest.raises(InputError):
                index.search(query, 1)


def test_empty_rows_and_queries_find_nothing(tmp_path: Path) -> None:
    with PostingsIndex.create(tmp_path / "i", COLUMNS) as index:
        nothing = csr_matrix((2, COLUMNS), dtype=np.float32)
        assert index.search(nothing, 3).offsets.tolist() == [0, 0, 0]
        index.upsert(["a", "b"], nothing)
        index.commit()
        assert len(index) == 2 and index.search(weights(2, 0), 3).offsets.tolist() == [0, 0, 0]
        assert index.score(weights(1, 0), [["b", "a"]]).tolist() == [0.0, 0.0]
        assert index.search(nothing[:0], 3).offsets.tolist() == [0]
        index.delete(["a", "b"])
        index.optimize()
        index.commit()
    with PostingsIndex.open(tmp_path / "i") as index:
        assert len(index) == 0 and index.search(weights(1, 0), 1).offsets.tolist() == [0, 0]
