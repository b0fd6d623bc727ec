"""CombMIN, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import CombMin


def test_worked_by_hand():
    fused = CombMin()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 0.5, "c": 0, "d": 0})]


def test_a_zero_for_the_missing_counts():
    legs = [hits(BM25), hits(DENSE)]
    assert run(CombMin(normalizer="none", missing="zero")(legs)) == [{"b": 0.9, "a": 0.0, "c": 0.0, "d": 0.0}]
