import numpy as np
import pytest

from indexing.hits import Hits
from pipelines.measures.parity import parity, rank_biased_overlap


def hits(*rankings: dict[str, float]) -> Hits:
    ids = sorted({doc_id for ranking in rankings for doc_id in ranking})
    triples = [(row, ids.index(i), score) for row, ranking in enumerate(rankings) for i, score in ranking.items()]
    rows, codes, scores = (np.array(column) for column in zip(*triples, strict=True))
    return Hits.ranked(len(rankings), rows, codes, scores.astype(np.float32), np.array(ids, object))


def test_equal_answers_are_alike():
    one = hits({"a": 3.0, "b": 2.0, "c": 1.0}, {"c": 5.0})
    found = parity(one, one, 10)
    assert (found.queries, found.overlap, found.lowest_overlap, found.largest) == (2, 1, 1, 0)
    assert found.rbo == pytest.approx(1) and found.quantiles == {"0.5": 0, "0.9": 0, "0.99": 0}


def test_differences_are_relative_to_the_highest_score_and_scaled():
    found = parity(hits({"a": 4.0, "b": 2.1}), hits({"a": 400.0, "b": 200.0}), 10, scale=100)
    assert found.largest == pytest.approx(0.1 / 4, rel=1e-5) and found.overlap == 1


def test_a_hit_that_ties_with_the_last_one_counts_as_found():
    expected = hits({"a": 3.0, "b": 1.0})
    assert parity(hits({"a": 3.0, "c": 1.0}), expected, 2).overlap == 1
    assert parity(hits({"b": 1.0, "c": 1.0}), expected, 2).overlap == 0.5


def test_rank_biased_overlap_is_that_of_the_paper():
    # Webber, Moffat and Zobel: equal rankings 1, disjoint ones 0, and earlier ranks weigh more.
    assert rank_biased_overlap("abc", "abc") == pytest.approx(1)
    assert rank_biased_overlap("abc", "xyz") == 0
    assert rank_biased_overlap("abcd", "abxy") > rank_biased_overlap("abcd", "xycd")
    # A_1 = 0, A_2 = 1 for two swapped ids: p^2 + (1 - p) / p * p^2
    assert rank_biased_overlap("ab", "ba", 0.9) == pytest.approx(0.9**2 + 0.1 / 0.9 * 0.9**2)
