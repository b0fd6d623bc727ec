"""Token vectors in Qdrant, beyond the contract suite: empty documents, means, limits, the vectors themselves."""

import numpy as np
import pytest

from indexing.errors import InputError
from indexing.indexes.qdrant.engine import PointBatch
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.leg_kind import QdrantKind
from indexing.indexes.registry import rows_of
from indexing.max_sim import EMPTY_SCORE, max_sim
from indexing.token_vectors import TokenVectors

RNG = np.random.default_rng(0)


def ids(n: int) -> list[str]:
    return [f"d{number}" for number in range(n)]


def texts(*lengths: int) -> TokenVectors:
    return TokenVectors.of([RNG.standard_normal((length, 8)).astype(np.float32) for length in lengths], 8)


def halved(vectors: TokenVectors) -> TokenVectors:
    return vectors._replace(vectors=vectors.vectors.astype(np.float16))


@pytest.fixture(params=["edge", "local"])
def engine(request):
    return request.param


@pytest.mark.parametrize("metric", ["maxsim", "meanmaxsim"])
def test_scores_are_exact_max_sim_and_a_document_without_vectors_is_never_a_hit(tmp_path, engine, metric):
    kept, asked = texts(3, 0, 1, 7, 2), texts(4, 0, 1)
    expected = max_sim(asked, halved(kept), mean=metric == "meanmaxsim")
    with QdrantIndex.create(tmp_path / "index", 8, metric=metric, engine=engine) as index:
        index.upsert(ids(5), kept)
        found = index.search(asked, 10)
        assert found.counts.tolist() == [4, 0, 4] and "d1" not in found.doc_ids
        for row in (0, 2):
            order = [int(doc_id[1:]) for doc_id in found[row].doc_ids]
            np.testing.assert_allclose(found[row].scores, expected[row, order], rtol=1e-5)
        scores = index.score(asked, [ids(5)] * 3).reshape(3, 5)
        filled = [0, 2, 3, 4]
        np.testing.assert_allclose(scores[:, filled], expected[:, filled], rtol=1e-5)
        assert scores[:, 1].tolist() == [EMPTY_SCORE] * 3 and not scores[1, filled].any()
        assert len(index) == 5


def test_a_document_may_lose_its_vectors_and_get_others(tmp_path, engine):
    first, second = texts(3, 2), texts(5)
    index = QdrantIndex.create(tmp_path / "index", 8, metric="maxsim", engine=engine)
    index.upsert(ids(2), first)
    index.upsert(["d0"], texts(0))
    index.commit(sequence=1)
    index.close()
    with QdrantIndex.open(tmp_path / "index") as again:
        assert again.search(texts(2), 5).doc_ids == ["d1"] and len(again) == 2
        assert again.vectors(["d1", "d0"]).lengths.tolist() == [2, 0]
        again.upsert(["d0"], second)
        stored = again.vectors(["d0", "d1", "d0"])
        expected = [halved(second).text(0), halved(first).text(1), halved(second).text(0)]
        np.testing.assert_array_equal(stored.vectors, np.concatenate(expected).astype(np.float32))
        assert again.present(["d1", "other", "d0"]).tolist() == [True, False, True]
        with pytest.raises(InputError, match="'other' is not in the index"):
            again.vectors(["other"])


def test_dense_vectors_are_returned_as_they_are_compared(tmp_path, engine):
    rows = RNG.standard_normal((3, 8)).astype(np.float32)
    with QdrantIndex.create(tmp_path / "index", 8, engine=engine) as index:
        index.upsert(ids(3), rows)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(index.vectors(["d2", "d0"]), (rows / lengths)[[2, 0]], rtol=1e-5)
        assert index.vectors([]).shape == (0, 8)
    with QdrantIndex.create(tmp_path / "weights", vocabulary=20, engine=engine) as sparse, pytest.raises(InputError):
        sparse.vectors([])


@pytest.mark.parametrize("options", [{"quantization": "scalar"}, {"on_disk": True}, {"m": 8}])
def test_variants_give_exact_scores(tmp_path, options):
    kept, asked = texts(*[1 + number % 6 for number in range(80)]), texts(4)
    with QdrantIndex.create(tmp_path / "index", 8, metric="maxsim", **options) as index:
        index.upsert(ids(80), kept)
        index.optimize()
        found = index.search(asked, 5)[0]
        places = [int(doc_id[1:]) for doc_id in found.doc_ids]
        np.testing.assert_allclose(found.scores, max_sim(asked, halved(kept))[0, places], rtol=1e-5)


def test_a_request_holds_few_enough_numbers():
    vectors = TokenVectors.of([np.zeros((length, 100), np.float32) for length in (3000, 2500, 0, 8000, 1, 1, 1)])
    batch = PointBatch(ids(7), {"tokens": vectors}, [{}] * 7)
    parts = list(batch.parts(2))
    assert [list(part.ids) for part in parts] == [["d0"], ["d1", "d2"], ["d3"], ["d4", "d5"], ["d6"]]
    assert [part.rows["tokens"].lengths.tolist() for part in parts] == [[3000], [2500, 0], [8000], [1, 1], [1]]


def test_a_document_that_a_server_would_refuse_is_refused_before_the_journal(tmp_path):
    long = TokenVectors.of([np.ones((1, 8), np.float32), np.ones((2**17 + 1, 8), np.float32)])
    says = "'d1' has 131,073 token vectors of dimension 8, and Qdrant stores at most 131,072"
    with pytest.raises(InputError, match=says):
        QdrantKind().check(ids(2), long, {"dimension": 8, "metric": "maxsim"})
    with QdrantIndex.create(tmp_path / "index", 8, metric="maxsim") as index:
        with pytest.raises(InputError, match=says):
            index.upsert(ids(2), long)
        with pytest.raises(InputError, match="1 id for the token vectors of 2 documents"):
            index.upsert(ids(1), texts(1, 1))
        with pytest.raises(InputError, match="TokenVectors are needed, not ndarray"):
            index.upsert(ids(2), np.ones((2, 8), np.float32))
        with pytest.raises(InputError, match="TokenVectors are needed"):
            index.search(np.ones(8, np.float32), 3)
        assert len(index) == 0


def test_token_vectors_have_a_dimension_and_no_vocabulary(tmp_path):
    with pytest.raises(InputError, match="needs a dimension, and has no vocabulary"):
        QdrantIndex.create(tmp_path / "index", 8, vocabulary=20, metric="maxsim")
    with pytest.raises(InputError, match="m must be"):
        QdrantIndex.create(tmp_path / "index", 8, m=0)


def test_the_metric_of_a_leg_tells_token_vectors_from_vectors():
    """Manifests that were written before token vectors could be in Qdrant mean what they meant."""
    assert rows_of("qdrant", {"dimension": 8, "metric": "cosine", "m": 32}) == "vectors"
    assert rows_of("qdrant", {"dimension": 8}) == "vectors"
    assert rows_of("qdrant", {"columns": 20}) == rows_of("qdrant", {}) == "weights"
    assert rows_of("qdrant", {"dimension": 8, "metric": "meanmaxsim"}) == "tokens"
    assert rows_of("tokens", {"dimension": 8}) == "tokens"
    kind = QdrantKind()
    assert kind.is_exact("tokens", {}) and not kind.is_exact("tokens", {"m": 16}) and not kind.is_exact("vectors", {})
