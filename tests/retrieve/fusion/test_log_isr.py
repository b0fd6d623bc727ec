"""Logarithmic inverse square rank, worked by hand."""

from math import log

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import LogInverseSquareRank


def test_worked_by_hand():
    fused = LogInverseSquareRank()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"b": log(2) * (1 / 4 + 1), "a": 0, "d": 0, "c": 0})]
    assert fused[0].doc_ids == ["b", "a", "c", "d"], "what one leg alone returned, by doc_id"
