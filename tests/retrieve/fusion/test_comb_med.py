"""CombMED, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import CombMed


def test_worked_by_hand():
    fused = CombMed()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 0.75, "c": 0, "d": 0})]


def test_the_one_in_the_middle_of_three():
    legs = [hits({"a": 1.0, "b": 2.0}), hits({"a": 5.0, "b": 4.0}), hits({"a": 2.0})]
    assert run(CombMed(normalizer="none")(legs)) == [{"b": 3.0, "a": 2.0}]


def test_equal_scores_in_the_middle():
    legs = [hits({"a": 2.0}), hits({"a": 2.0}), hits({"a": 2.0}), hits({"a": 7.0})]
    assert run(CombMed(normalizer="none")(legs)) == [{"a": 2.0}]
