"""CombSUM, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import CombSum


def test_worked_by_hand():
    fused = CombSum()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 1.5, "c": 0, "d": 0})]


def test_with_scores_as_they_are():
    fused = CombSum(normalizer="none")([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 9, "b": 5.9, "c": 1, "d": 0.5})]
