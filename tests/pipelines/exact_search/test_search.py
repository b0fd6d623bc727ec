from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.exact_search.search import DOCUMENTS_AT_ONCE, ExactSearch

Vectors = NDArray[np.float32]


def make(rows: int, width: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


def unit(vectors: Vectors) -> Vectors:
    found: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def clusters() -> Vectors:
    """Vectors so near one another that in bfloat16 many scores are equal."""
    return unit(make(30, 64, 2)[np.arange(6000) % 30] + 1e-3 * make(6000, 64, 3))


def doubles() -> Vectors:
    return np.round(make(700, 64, 4))[np.arange(7000) % 700]


def giants() -> Vectors:
    """A few vectors so long that nothing is known of the others."""
    vectors = make(6000, 64, 5)
    vectors[::1000] *= 1e4
    return vectors


CORPORA: dict[str, Any] = {
    "normal": lambda: unit(make(9000, 64, 1)),
    "clusters": clusters,
    "doubles": doubles,
    "giants": giants,
    "zeros": lambda: np.zeros((5000, 64), dtype=np.float32),
    "all alike": lambda: np.ones((5000, 64), dtype=np.float32),
    "tiny": lambda: make(5000, 64, 6) * np.float32(1e-18),
    "less than a group": lambda: make(7, 64, 7),
    "one": lambda: make(1, 64, 8),
    "more than are rounded at once": lambda: make(2 * DOCUMENTS_AT_ONCE + 5, 64, 9),
}


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_screened_finds_what_float64_finds(name: str, k: int) -> None:
    corpus, queries = CORPORA[name](), make(23, 64, 10)
    k = min(k, len(corpus))
    places, scores = ExactSearch(corpus, 5, len(queries), screen=True)(queries, k, np.arange(len(corpus)))
    true = queries.astype(np.float64) @ corpus.T.astype(np.float64)
    expected = -np.sort(-true, axis=1)[:, :k]
    scale = max(1e-30, float(np.abs(expected).max()))
    assert np.abs(scores - expected).max() <= 1e-5 * scale
    assert np.abs(np.take_along_axis(true, places, axis=1) - expected).max() <= 1e-5 * scale
    assert all(len(set(row)) == k for row in places.tolist()), "no document twice"


def test_equal_scores_stand_by_rank_at_the_cutoff_too() -> None:
    corpus, queries = doubles(), make(9, 64, 11)
    ranks = np.random.default_rng(1).permutation(len(corpus))
    places, scores = ExactSearch(corpus, 9, 9, screen=True)(queries, 25, ranks)
    for row, found in zip(places, scores, strict=True):
        assert len(set(row[:10] % 700)) == 1 and len(set(found[:10])) == 1, "the ten copies of the best come first"
        for low in (0, 10):
            assert (np.diff(ranks[row[low : low + 10]]) > 0).all()
        copies = np.flatnonzero(np.arange(7000) % 700 == row[20] % 700)
        assert row[20:].tolist() == copies[np.argsort(ranks[copies])][:5].tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.4e38])
def test_numbers_that_cannot_be_bounded_are_scored_in_float32(bad: float) -> None:
    corpus, queries = make(6000, 64, 12), make(4, 64, 13)
    corpus[17, 3] = bad
    ranks = np.arange(len(corpus))
    with np.errstate(all="ignore"):
        screened, plain = (ExactSearch(corpus, 4, 4, screen=screen)(queries, 10, ranks) for screen in (True, False))
    assert np.array_equal(screened[0], plain[0]) and np.array_equal(screened[1], plain[1], equal_nan=True)


def test_a_query_that_is_not_a_number_leaves_the_others_right() -> None:
    corpus, queries = make(6000, 64, 14), make(4, 64, 15)
    queries[1, 0] = np.nan
    ranks = np.arange(len(corpus))
    screened, plain = (ExactSearch(corpus, 4, 4, screen=screen)(queries, 10, ranks) for screen in (True, False))
    others = [0, 2, 3]
    assert np.array_equal(screened[0][others], plain[0][others])


def test_no_queries() -> None:
    places, scores = ExactSearch(make(5000, 64), 1, 0)(make(0, 64), 3, np.arange(5000))
    assert places.shape == scores.shape == (0, 3)


@pytest.mark.parametrize(("name", "pays"), [("normal", True), ("giants", False), ("all alike", False)])
def test_screening_stops_where_it_does_not_pay(name: str, pays: bool) -> None:
    search = ExactSearch(CORPORA[name](), 50, 50, screen=True)
    search(make(50, 64, 16), 10, np.arange(9000)[: len(CORPORA[name]())])
    assert (search._screen is not None) is pays
