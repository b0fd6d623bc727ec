"""Each normaliser against its formula, worked by hand."""

from math import sqrt

import numpy as np
import pytest

from retrieve.fusion.normalizers import (
    NORMALIZERS,
    identity,
    maximum,
    min_max,
    rank,
    theoretical_min_max,
    three_sigma,
    total,
    z_score,
)

SCORES = np.array([6.0, 3.0, 0.0, -2.0, 5.0, 5.0], np.float32)
OFFSETS = np.array([0, 3, 3, 4, 6])
"""Four queries: three scores, none, one negative score, two equal ones."""

WORKED = {
    min_max: [1, 0.5, 0, 1, 1, 1],
    maximum: [1, 0.5, 0, -1, 1, 1],
    total: [2 / 3, 1 / 3, 0, 1, 0.5, 0.5],
    z_score: [sqrt(1.5), 0, -sqrt(1.5), 0, 0, 0],
    rank: [1, 2 / 3, 1 / 3, 1, 1, 0.5],
    three_sigma: [2 / 3, 0.5, 1 / 3, 0.5, 0.5, 0.5],
    identity: [6, 3, 0, -2, 5, 5],
}


@pytest.mark.parametrize("normalize", WORKED, ids=lambda function: function.__name__)
def test_worked_by_hand(normalize):
    values = normalize(SCORES, OFFSETS)
    assert values.dtype == np.float64
    assert values.tolist() == pytest.approx(WORKED[normalize], abs=1e-15)


def test_known_bounds():
    assert theoretical_min_max(SCORES, OFFSETS, low=-2, high=8).tolist() == pytest.approx([0.8, 0.5, 0.2, 0, 0.7, 0.7])


def test_a_known_lowest_and_the_highest_returned():
    assert theoretical_min_max(SCORES, OFFSETS, low=-2).tolist() == pytest.approx([1, 0.625, 0.25, 1, 1, 1])


def test_the_populations_deviation():
    apart = 3 / (6 * sqrt(6))
    assert three_sigma(SCORES, OFFSETS, freedom=0).tolist()[:3] == pytest.approx([0.5 + apart, 0.5, 0.5 - apart])


@pytest.mark.parametrize("name", sorted(set(NORMALIZERS) - {"theoretical-min-max"}))
def test_nothing_found(name):
    nothing = np.zeros(0, np.float32)
    assert NORMALIZERS[name](nothing, np.zeros(3, np.int64)).shape == (0,)


@pytest.mark.parametrize("name", sorted(set(NORMALIZERS) - {"theoretical-min-max"}))
def test_the_order_stays(name):
    rng = np.random.default_rng(0)
    scores = np.sort(rng.normal(size=(20, 30)))[:, ::-1].ravel()
    values = NORMALIZERS[name](scores, np.arange(0, 601, 30)).reshape(20, 30)
    assert (np.diff(values, axis=1) < 0).all()
