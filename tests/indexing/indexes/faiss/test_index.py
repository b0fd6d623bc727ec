import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import InputError, StorageError
from indexing.indexes.faiss.index import FaissIndex

RNG = np.random.default_rng(0)


def vectors(n: int, dimension: int = 8) -> np.ndarray:
    return RNG.standard_normal((n, dimension)).astype(np.float32)


@pytest.fixture(params=["flat", "hnsw"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def index(tmp_path, kind) -> FaissIndex:
    return FaissIndex.create(tmp_path / "index", 8, kind=kind)


def test_finds_the_nearest_by_cosine(index):
    rows = vectors(50)
    index.upsert([f"d{i}" for i in range(50)], rows)

    hits = index.search(rows[:3] * 7, k=5)

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for query, ranking in enumerate(hits):
        expected = np.argsort(-(unit @ unit[query]))[:5]
        assert ranking.doc_ids == [f"d{i}" for i in expected]
        np.testing.assert_allclose(ranking.scores, np.sort(unit @ unit[query])[::-1][:5], atol=1e-6)


def test_dot_takes_lengths_into_account(tmp_path, kind):
    index = FaissIndex.create(tmp_path / "index", 2, kind=kind, metric="dot")
    index.upsert(["short", "long"], np.array([[1, 0], [3, 3]], np.float32))

    assert index.search(np.array([1, 0], np.float32), k=2)[0].doc_ids == ["long", "short"]


def test_a_new_vector_replaces_the_old_one_of_its_id(index):
    index.upsert(["a", "b"], np.eye(8, dtype=np.float32)[:2])
    index.upsert(["a"], np.eye(8, dtype=np.float32)[2:3])

    assert len(index) == 2
    best = index.search(np.eye(8, dtype=np.float32)[2], k=1)[0]
    assert best.doc_ids == ["a"]
    assert best.scores[0] == pytest.approx(1)


def test_what_is_deleted_is_not_found(index):
    rows = vectors(40)
    index.upsert([f"d{i}" for i in range(40)], rows)

    assert index.delete(["d3", "d7", "unknown", "d3"]) == 2

    assert len(index) == 38
    found = index.search(rows[3], k=40)[0].doc_ids
    assert len(found) == 38
    assert not {"d3", "d7"} & set(found)
    assert "d3" not in index


def test_what_was_committed_is_there_after_open(index):
    rows = vectors(40)
    index.upsert([f"d{i}" for i in range(40)], rows)
    index.delete([f"d{i}" for i in range(20)])
    before = index.search(rows, k=5)
    index.commit()

    again = FaissIndex.open(index.path)

    assert len(again) == 20
    after = again.search(rows, k=5)
    assert after.doc_ids == before.doc_ids
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-6)
    assert index.size_bytes > 20 * 8 * 4
    np.testing.assert_allclose(again.vectors(["d25"]), index.vectors(["d25"]))


def test_what_was_not_committed_is_gone_and_the_last_commit_stays(index):
    index.upsert(["a"], vectors(1))
    index.commit()
    index.upsert(["b"], vectors(1))

    assert len(FaissIndex.open(index.path)) == 1


def test_commit_keeps_one_generation_of_files(index):
    for number in range(3):
        index.upsert([f"d{number}"], vectors(1))
        index.commit()

    assert len(list(index.path.iterdir())) == 3


def test_hnsw_is_rebuilt_when_much_of_it_is_deleted(tmp_path):
    index = FaissIndex.create(tmp_path / "index", 8, kind="hnsw")
    rows = vectors(100)
    index.upsert([f"d{i}" for i in range(100)], rows)
    index.delete([f"d{i}" for i in range(60)])
    large = index._parts.total

    index.commit()

    assert (large, index._parts.total) == (100, 40)
    assert index.search(rows[70], k=1)[0].doc_ids == ["d70"]


def test_k_may_exceed_the_number_of_vectors(index):
    index.upsert(["a", "b"], vectors(2))
    assert len(index.search(vectors(1), k=100)[0]) == 2


def test_an_empty_index_finds_nothing(index):
    assert [len(ranking) for ranking in index.search(vectors(3), k=5)] == [0, 0, 0]
    index.upsert([], np.zeros((0, 8), np.float32))
    index.commit()
    assert len(FaissIndex.open(index.path)) == 0


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), distinct=st.integers(1, 5), k=st.integers(1, 70), seed=st.integers(0, 999))
def test_flat_resolves_ties_at_the_cutoff_by_id(tmp_path_factory, n, distinct, k, seed):
    rng = np.random.default_rng(seed)
    rows = np.eye(8, dtype=np.float32)[rng.integers(0, distinct, n)]
    ids = [f"d{i}" for i in rng.permutation(n)]
    index = FaissIndex.create(tmp_path_factory.mktemp("ties") / "index", 8)
    index.upsert(ids, rows)

    found = index.search(np.ones((2, 8), np.float32), k=k)

    scores = rows @ np.full(8, 1 / np.sqrt(8), np.float32)
    expected = [doc_id for _, doc_id in sorted(zip(-scores, ids, strict=True))][:k]
    assert [ranking.doc_ids for ranking in found] == [expected, expected]


@pytest.mark.parametrize(
    ("ids", "rows", "says"),
    [
        (["a", "a"], np.ones((2, 8)), "'a' occurs 2 times"),
        (["a", ""], np.ones((2, 8)), "position 1 is empty"),
        (["a"], np.ones((1, 9)), "dimension 8"),
        (["a"], np.ones((2, 8)), "1 id for 2 vectors"),
        (["a", "bad"], np.array([[1.0] * 8, [np.nan] * 8]), "'bad' holds a NaN"),
        (["a", "bad"], np.array([[1.0] * 8, [np.inf] * 8]), "'bad' holds a NaN or an infinity"),
    ],
)
def test_bad_vectors_are_refused_and_nothing_is_added(index, ids, rows, says):
    with pytest.raises(InputError, match=says):
        index.upsert(ids, rows)
    assert len(index) == 0


def test_a_nan_query_is_refused(index):
    with pytest.raises(InputError, match="query vector of row 0"):
        index.search(np.full(8, np.nan), k=1)


def test_a_zero_vector_scores_zero(index):
    index.upsert(["zero"], np.zeros((1, 8), np.float32))
    assert index.search(vectors(1), k=1)[0].scores.tolist() == [0.0]


def test_create_does_not_overwrite_and_open_explains(tmp_path, index):
    index.upsert(["a"], vectors(1))
    index.commit()
    with pytest.raises(StorageError, match="already holds an index"):
        FaissIndex.create(index.path, 8)
    with pytest.raises(StorageError, match="is not a FAISS index"):
        FaissIndex.open(tmp_path / "nowhere")
    (index.path / "vectors-1.faiss").write_bytes(b"rubbish")
    with pytest.raises(StorageError, match="cannot be read"):
        FaissIndex.open(index.path)


def test_unknown_settings_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="choose one of 'flat', 'hnsw', 'ivf', 'pq', 'sq', 'binary', 'int8', 'factory'"
    ):
        FaissIndex.create(tmp_path / "index", 8, kind="annoy")
    with pytest.raises(InputError, match="cannot build an index of dimension 8 from 'PQ3'"):
        FaissIndex.create(tmp_path / "index", 8, kind="factory", factory="PQ3")
    with pytest.raises(InputError, match="kind='factory' and factory need each other"):
        FaissIndex.create(tmp_path / "index", 8, kind="ivf", factory="PQ3")
    with pytest.raises(InputError, match="choose 'cosine' or 'dot'"):
        FaissIndex.create(tmp_path / "index", 8, metric="euclidean")
