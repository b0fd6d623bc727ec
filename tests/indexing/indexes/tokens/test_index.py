"""TokenIndex beyond the contract: centroids and codes, recall, files, damage."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexing.errors import InputError, StorageError
from indexing.indexes.tokens import index as token_index
from indexing.indexes.tokens.codebook import Codebook
from indexing.indexes.tokens.index import TokenIndex
from indexing.max_sim import EMPTY_SCORE, max_sim
from indexing.token_vectors import TokenVectors

DIMENSION = 32
CENTROIDS = {"train_at": 100, "centroids": 64, "nprobe": 8, "candidates": 100}


def clustered(seed: int, texts: int, tokens: int = 20) -> TokenVectors:
    """Documents about one of 60 subjects each: vectors near few of 500 directions, as words of a language are."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((500, DIMENSION))
    found = []
    for _ in range(texts):
        words = rng.integers(0, 60) * 8 + rng.integers(0, 20, rng.integers(1, tokens))
        vectors = directions[words] + 0.35 * rng.standard_normal((len(words), DIMENSION))
        found.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return TokenVectors.of(found, DIMENSION)


def ids(count: int, start: int = 0) -> list[str]:
    return [f"d{number:05}" for number in range(start, start + count)]


def recall(index: TokenIndex, queries: TokenVectors, documents: TokenVectors, k: int) -> float:
    best = np.argsort(-max_sim(queries, documents), axis=1, kind="stable")[:, :k]
    found = index.search(queries, k)
    hits = [len({f"d{place:05}" for place in row} & set(found[at].doc_ids)) for at, row in enumerate(best)]
    return sum(hits) / (k * len(best))


def test_centroids_find_nearly_all_of_the_best(tmp_path):
    documents, queries = clustered(1, 2000), clustered(2, 40)
    for bits, least in ((16, 0.98), (8, 0.97), (4, 0.95), (2, 0.85)):
        settings = CENTROIDS | {"centroids": 256, "candidates": 200}
        index = TokenIndex.create(tmp_path / str(bits), DIMENSION, bits=bits, **settings)
        index.upsert(ids(2000), documents)
        index.commit()
        assert recall(index, queries, documents, 10) >= least, bits
        index.close()


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_scores_are_exact_over_what_is_kept(tmp_path, bits):
    documents, queries = clustered(3, 300), clustered(4, 5)
    index = TokenIndex.create(tmp_path / "index", DIMENSION, bits=bits, **CENTROIDS | {"candidates": 20})
    index.upsert(ids(300), documents)
    index.commit()
    expected = max_sim(queries, index.vectors(ids(300)))
    for row, ranking in enumerate(index.search(queries, 15)):
        places = [int(doc_id[1:]) for doc_id in ranking.doc_ids]
        np.testing.assert_allclose(ranking.scores, expected[row, places], rtol=1e-4, atol=1e-4)
    scored = index.score(queries, [ids(300)] * 5).reshape(5, 300)
    np.testing.assert_allclose(scored, expected, rtol=1e-4, atol=1e-4)


def test_codes_are_close_to_their_vectors_and_small():
    vectors = clustered(5, 500).vectors
    errors = []
    for bits in (2, 4, 8, 16):
        book = Codebook.train(vectors, 64, bits)
        codes, stored = book.encode(vectors)
        errors.append(float(np.linalg.norm(book.decode(codes, stored) - vectors, axis=1).mean()))
        assert stored.nbytes == len(vectors) * DIMENSION * bits // 8
        products = book.similarities(vectors[:7], book.centroids @ vectors[:7].T, codes, stored)
        np.testing.assert_allclose(products, book.decode(codes, stored) @ vectors[:7].T, atol=1e-4)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.35 and errors[1] < 0.1 and errors[3] < 1e-3


@pytest.mark.parametrize("dimension", [5, 8, 13])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_dimensions_need_not_fill_bytes(dimension, bits):
    vectors = np.random.default_rng(0).standard_normal((200, dimension)).astype(np.float32)
    book = Codebook.train(vectors, 4, bits)
    codes, stored = book.encode(vectors)
    decoded = book.decode(codes, stored)
    np.testing.assert_allclose(
        book.similarities(vectors[:3], book.centroids @ vectors[:3].T, codes, stored),
        decoded @ vectors[:3].T,
        atol=1e-4,
    )
    assert np.corrcoef(decoded.ravel(), vectors.ravel())[0, 1] > 0.9


def test_training_is_repeatable(tmp_path):
    documents, queries = clustered(6, 200), clustered(7, 4)
    found = []
    for name in "ab":
        with TokenIndex.create(tmp_path / name, DIMENSION, **CENTROIDS) as index:
            index.upsert(ids(200), documents)
            index.commit()
            found.append(index.search(queries, 20))
    assert found[0].doc_ids == found[1].doc_ids
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_writes_after_training_are_found_and_deleted_ones_are_not(tmp_path):
    documents, queries = clustered(8, 600), clustered(9, 10)
    index = TokenIndex.create(tmp_path / "index", DIMENSION, bits=16, **CENTROIDS | {"nprobe": 16})
    for start in range(0, 600, 50):
        index.upsert(ids(50, start), documents.slice(start, start + 50))
        index.commit(start)
    index.delete(ids(100, 500))
    index.upsert(ids(20), documents.slice(580, 600))
    index.commit(999)
    index.close()

    with TokenIndex.open(tmp_path / "index", read_only=False) as again:
        assert len(again) == 500
        kept = TokenVectors.join([documents.slice(580, 600), documents.slice(20, 500)])
        assert recall(again, queries, kept, 5) > 0.95
        again.optimize()
        assert len(again._segments) == 1 and recall(again, queries, kept, 5) > 0.95


def test_many_commits_leave_few_segments(tmp_path):
    with TokenIndex.create(tmp_path / "index", DIMENSION) as index:
        for number in range(40):
            index.upsert(ids(5, 5 * number), clustered(number, 5))
            index.commit(number)
        assert len(index._segments) <= 4
        assert len(list((tmp_path / "index").glob("segment-*.stored.npy"))) == len(index._segments)


def test_a_document_without_vectors_is_kept_but_never_a_hit(tmp_path):
    documents = clustered(10, 6)
    with_empty = TokenVectors.of([*documents.to_list(), np.zeros((0, DIMENSION), np.float32)])
    index = TokenIndex.create(tmp_path / "index", DIMENSION)
    index.upsert([*ids(6), "empty"], with_empty)
    index.commit()
    assert len(index) == 7 and "empty" not in index.search(clustered(11, 3), 100).doc_ids
    assert index.score(clustered(12, 1), [["empty"]]).tolist() == [EMPTY_SCORE]
    assert index.vectors(["empty", "d00002"]).lengths.tolist() == [0, len(documents.text(2))]


@pytest.mark.parametrize("train_at", [2, 100])
def test_documents_and_queries_without_vectors_are_none_to_learn_from_and_find_nothing(tmp_path, train_at):
    with TokenIndex.create(tmp_path / "index", DIMENSION, train_at=train_at, centroids=4) as index:
        index.upsert(ids(3), TokenVectors.of([np.zeros((0, DIMENSION), np.float32)] * 3, DIMENSION))
        index.commit(1)
        queries = TokenVectors.of([np.zeros((0, DIMENSION), np.float32), clustered(1, 1).text(0)], DIMENSION)
        assert index.search(queries, 5).counts.tolist() == [0, 0]
        index.upsert(ids(40, 3), clustered(2, 40))
        index.commit(2)
        assert (index._book is not None) == (train_at == 2)
        assert index.search(queries, 5).counts.tolist() == [0, 5]


def test_the_mean_divides_by_the_vectors_of_the_query(tmp_path):
    documents, queries = clustered(13, 50), clustered(14, 4)
    index = TokenIndex.create(tmp_path / "index", DIMENSION, metric="meanmaxsim")
    index.upsert(ids(50), documents)
    half = documents._replace(vectors=documents.vectors.astype(np.float16))
    expected = max_sim(queries, half, mean=True)
    for row, ranking in enumerate(index.search(queries, 50)):
        places = [int(doc_id[1:]) for doc_id in ranking.doc_ids]
        np.testing.assert_allclose(ranking.scores, expected[row, places], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(index.score(queries, [["d00003"]] * 4), expected[:, 3], rtol=1e-5, atol=1e-6)


def test_a_large_upsert_is_written_before_the_commit(tmp_path, monkeypatch):
    """Vectors that wait in memory are bounded; what no commit names is removed by the next writer."""
    monkeypatch.setattr(token_index, "FLUSH_BYTES", 10_000)
    index = TokenIndex.create(tmp_path / "index", DIMENSION)
    index.commit(1)
    index.upsert(ids(100), clustered(15, 100))
    assert list((tmp_path / "index").glob("segment-*.npy"))
    index.close()
    with TokenIndex.open(tmp_path / "index") as again:
        assert len(again) == 0
        assert not list((tmp_path / "index").glob("segment-*.npy"))


def test_a_killed_process_leaves_the_last_commit(tmp_path):
    """A process that ends while it trains leaves the state before, and the next one goes on from there."""
    code = """
import os, sys
sys.path[:0] = sys.argv[2:]
from indexing.indexes.tokens import codebook, index
import test_index as rows
one = index.TokenIndex.create(sys.argv[1], rows.DIMENSION, **rows.CENTROIDS)
one.upsert(rows.ids(90), rows.clustered(16, 90))
one.commit(5)
one.upsert(rows.ids(90, 90), rows.clustered(17, 90))
encode = codebook.Codebook.encode
codebook.Codebook.encode = lambda *given: os._exit(9)
one.commit(6)
"""
    folder = Path(__file__).parent
    paths = [str(folder), str(folder.parents[2]), str(folder.parents[3])]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "index"), *paths], env=os.environ, check=False)
    assert done.returncode == 9
    with TokenIndex.open(tmp_path / "index") as index:
        assert (len(index), index.sequence) == (90, 5)
        assert not list((tmp_path / "index").glob("codebook-*"))
        index.upsert(ids(90, 90), clustered(17, 90))
        index.commit(6)
        assert len(index) == 180 and index.search(clustered(18, 2), 5).counts.tolist() == [5, 5]


@pytest.mark.parametrize("part", ["stored", "offsets", "codes", "lists"])
def test_a_damaged_or_missing_file_is_an_error_that_names_it(tmp_path, part):
    with TokenIndex.create(tmp_path / "index", DIMENSION, **CENTROIDS) as index:
        index.upsert(ids(120), clustered(19, 120))
    file = next((tmp_path / "index").glob(f"segment-*.{part}.npy"))
    content = file.read_bytes()
    file.write_bytes(content[:40])
    with pytest.raises(StorageError, match=file.name):
        TokenIndex.open(tmp_path / "index", read_only=True)
    file.unlink()
    with pytest.raises(StorageError, match=f"{file.name} is missing"):
        TokenIndex.open(tmp_path / "index", read_only=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 3}, "bits must be one of 0, 2, 4, 8, 16"),
        ({"metric": "cosine"}, "metric must be maxsim or meanmaxsim"),
        ({"nprobe": 0}, "nprobe"),
        ({"centroids": -1}, "centroids"),
        ({"train_at": 1.5}, "train_at"),
    ],
)
def test_wrong_settings_are_errors(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        TokenIndex.create(tmp_path / "index", DIMENSION, **settings)


def test_wrong_queries_are_errors(tmp_path):
    index = TokenIndex.create(tmp_path / "index", DIMENSION)
    index.upsert(ids(3), clustered(20, 3))
    with pytest.raises(InputError, match="TokenVectors are needed"):
        index.search([[1.0]], 3)
    with pytest.raises(InputError, match="dimension 32"):
        index.search(TokenVectors.of([np.ones((2, 8), np.float32)]), 3)
    alone = clustered(21, 1)
    assert index.search(alone.text(0), 3).doc_ids == index.search(alone, 3).doc_ids
