"""CombMAX, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import CombMax


def test_worked_by_hand():
    fused = CombMax()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 1, "c": 0, "d": 0})]


def test_a_zero_for_the_missing_beats_negative_scores():
    legs = [hits({"a": -1.0, "b": -2.0}), hits({"b": -3.0})]
    assert run(CombMax(normalizer="none")(legs)) == [{"a": -1.0, "b": -2.0}]
    assert run(CombMax(normalizer="none", missing="zero")(legs)) == [{"a": 0.0, "b": -2.0}]
