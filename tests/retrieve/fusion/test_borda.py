"""Borda count, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import Borda


def test_worked_by_hand():
    # Four candidates: 4, 3, 2 points for BM25's three and the left 1 for d; 4, 3 for dense's two, 1.5 for the rest.
    fused = Borda()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"b": 3 + 4, "a": 4 + 1.5, "d": 1 + 3, "c": 2 + 1.5})]


def test_weights_multiply():
    fused = Borda(weights=[2, 1])([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"b": 6 + 4, "a": 8 + 1.5, "d": 2 + 3, "c": 4 + 1.5})]


def test_candidates_are_each_querys_own():
    fused = Borda()([hits(BM25, {"x": 1.0}), hits(DENSE, {"x": 1.0})])
    assert run(fused)[1] == {"x": 2.0}
