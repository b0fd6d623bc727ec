"""CombMNZ, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import CombMnz


def test_worked_by_hand():
    fused = CombMnz()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 3, "c": 0, "d": 0})]


def test_counts_who_returned_it_also_where_the_lowest_score_stands_in():
    fused = CombMnz(normalizer="none", missing="min")([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 9.5, "b": 2 * 5.9, "c": 1.5, "d": 1.5})]
