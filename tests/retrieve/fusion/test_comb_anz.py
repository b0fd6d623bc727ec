"""CombANZ, worked by hand."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import CombAnz


def test_worked_by_hand():
    fused = CombAnz()([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 1, "b": 0.75, "c": 0, "d": 0})]


def test_with_a_score_from_every_leg_it_is_the_mean_over_all():
    fused = CombAnz(normalizer="none", missing="min")([hits(BM25), hits(DENSE)])
    assert run(fused) == [pytest.approx({"a": 9.5 / 2, "b": 5.9 / 2, "c": 1.5 / 2, "d": 1.5 / 2})]
