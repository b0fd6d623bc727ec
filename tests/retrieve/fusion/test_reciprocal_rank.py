"""Reciprocal rank fusion, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from indexing.errors import InputError
from retrieve.fusion import ReciprocalRank, reciprocal_rank_fusion


def test_worked_by_hand():
    fused = reciprocal_rank_fusion([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "d": 1 / 62, "c": 1 / 63}, abs=1e-15)]
    assert fused[0].doc_ids == ["b", "a", "d", "c"]


def test_weights_multiply_and_k_is_given():
    fused = ReciprocalRank(k=0, weights=[2, 1])([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 2, "b": 2 / 2 + 1, "c": 2 / 3, "d": 1 / 2})]


def test_unit_gives_1_to_what_every_leg_has_first():
    fused = ReciprocalRank(unit=True, weights=[3, 1])([hits(BM25), hits({"a": 1.0, "b": 0.0})])
    assert run(fused) == [pytest.approx({"a": 1.0, "b": 61 / 62, "c": 0.75 * 61 / 63})]


@pytest.mark.parametrize("k", [-1, float("nan"), float("inf")])
def test_a_constant_that_divides_by_zero_is_refused(k):
    with pytest.raises(InputError, match="k must be above -1"):
        ReciprocalRank(k=k)
