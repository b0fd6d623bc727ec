"""Inverse square rank, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import InverseSquareRank


def test_worked_by_hand():
    fused = InverseSquareRank()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"b": 2 * (1 / 4 + 1), "a": 1, "d": 1 / 4, "c": 1 / 9})]
