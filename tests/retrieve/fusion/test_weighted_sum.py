"""The weighted sum, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import WeightedSum, weighted_sum


def test_worked_by_hand():
    fused = weighted_sum([hits(BM25), hits(DENSE)], weights=[1, 3])
    assert run(fused) == [pytest.approx({"a": 0.25, "b": 0.25 * 0.5 + 0.75, "c": 0.0, "d": 0.0})]
    assert fused[0].doc_ids == ["b", "a", "c", "d"], "equal scores by doc_id"


def test_a_single_hit_and_equal_scores_count_as_the_best():
    fused = weighted_sum([hits({"a": -3.0}), hits({"b": 2.0, "c": 2.0})])
    assert run(fused) == [pytest.approx({"a": 0.5, "b": 0.5, "c": 0.5})]


def test_weights_by_the_names_of_the_legs():
    legs = [hits(BM25).as_leg("bm25"), hits(DENSE).as_leg("dense")]
    assert run(WeightedSum(weights={"dense": 3, "bm25": 1})(legs)) == run(WeightedSum(weights=[1, 3])(legs))


def test_weights_as_they_are():
    fused = WeightedSum(weights=[1, 3], convex=False)([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 3.5, "c": 0, "d": 0})]


def test_bounds_are_the_legs_own():
    fused = WeightedSum(
        normalizer="theoretical-min-max", bounds={"bm25": (0, None), "dense": (-1, 1)}, weights={"bm25": 1, "dense": 1}
    )([hits(BM25).as_leg("bm25"), hits(DENSE).as_leg("dense")])
    assert run(fused) == [pytest.approx({"a": 0.5, "b": (5 / 9 + 0.95) / 2, "c": 1 / 18, "d": 0.375})]
