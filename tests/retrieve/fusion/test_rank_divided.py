"""Qdrant's rank-divided fusion, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from indexing.errors import InputError
from retrieve.fusion import RankDivided, ReciprocalRank


def test_worked_by_hand():
    fused = RankDivided(weights=[1, 2])([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1 / 2, "b": 1 / 3 + 1 / 1.5, "c": 1 / 4, "d": 1 / 2})]


def test_without_weights_it_is_the_papers_with_another_k():
    legs = [hits(BM25), hits(DENSE)]
    assert run(RankDivided(k=61)(legs)) == [pytest.approx(found) for found in run(ReciprocalRank(k=60)(legs))]


def test_scaled_weights_are_other_weights():
    legs = [hits(BM25), hits(DENSE)]
    assert run(RankDivided(weights=[1, 2])(legs)) != run(RankDivided(weights=[2, 4])(legs))


def test_a_leg_of_weight_0_adds_nothing():
    assert run(RankDivided(weights=[0, 1])([hits(BM25), hits(DENSE)])) == [
        pytest.approx({"a": 0, "b": 1 / 2, "c": 0, "d": 1 / 3})
    ]


def test_what_divides_by_zero_is_refused():
    with pytest.raises(InputError, match="k must be 0 or more"):
        RankDivided(k=-1)
    with pytest.raises(InputError, match="greater k"):
        RankDivided(k=0)([hits(BM25), hits(DENSE)])
