"""Weights from the spread of each query's scores, worked by hand."""

import numpy as np
import pytest

from fusing import BM25, DENSE, hits, run
from indexing.errors import InputError
from retrieve.fusion import SpreadWeightedSum, WeightedSum, default_fusion

LEGS = [hits(BM25).as_leg("bm25"), hits(DENSE).as_leg("dense")]


def test_worked_by_hand():
    # Spreads: 9 - 5 = 4, and 10 * (0.9 - 0.7) = 2; squared 16 and 4.
    fused = SpreadWeightedSum(scales={"bm25": 1, "dense": 10}, power=2)(LEGS)
    assert run(fused) == [pytest.approx({"a": 0.8, "b": 0.8 * 0.5 + 0.2, "c": 0, "d": 0})]


def test_each_query_has_weights_of_its_own():
    sharp, flat = {"a": 8.0, "b": 0.0}, {"a": 1.0, "b": 0.0}
    weights = SpreadWeightedSum(power=1).weights([hits(sharp, flat), hits(flat, flat)])
    assert weights.T.tolist() == [pytest.approx([8 / 9, 1 / 9]), pytest.approx([0.5, 0.5])]


def test_a_floor_is_kept_and_the_rest_goes_by_spread():
    fusion = SpreadWeightedSum(scales=[1, 10], floors={"bm25": 0, "dense": 0.5}, power=2)
    assert fusion.weights(LEGS).T.tolist() == [pytest.approx([0.4, 0.6])]


def test_the_floor_of_a_leg_without_hits_goes_to_the_others():
    assert SpreadWeightedSum(floors=[0.2, 0.5]).weights([hits(BM25), hits({})]).T.tolist() == [[1, 0]]


def test_without_power_all_legs_weigh_the_same():
    assert run(SpreadWeightedSum(power=0)(LEGS)) == [pytest.approx(found) for found in run(WeightedSum()(LEGS))]


def test_with_power_1_it_ranks_like_the_sum_of_scaled_scores():
    rng = np.random.default_rng(0)
    names = [f"d{number}" for number in range(30)]
    # Both legs have the same tails, so (best - mean) is the same fraction of (best - worst).
    shape = np.concatenate(([0.0], rng.random(28), [1.0]))
    legs = [hits(dict(zip(rng.permutation(names), shape * factor, strict=True))) for factor in (6.0, 0.2)]
    fused = SpreadWeightedSum(scales=[1, 40], power=1)(legs)
    summed = WeightedSum(normalizer="none", weights=[1, 40])(legs)
    assert fused[0].doc_ids == summed[0].doc_ids


def test_a_leg_that_cannot_be_judged_weighs_as_much_as_the_heaviest():
    single, equal = hits({"x": 5.0}), hits({"y": 1.0, "z": 1.0})
    assert SpreadWeightedSum().weights([hits(BM25), single]).T.tolist() == [[0.5, 0.5]]
    assert SpreadWeightedSum().weights([equal, single]).T.tolist() == [[0.5, 0.5]]


def test_a_leg_without_hits_weighs_nothing():
    assert SpreadWeightedSum().weights([hits(BM25, {}), hits({}, {})]).T.tolist() == [[1, 0], [0, 0]]


def test_great_spreads_and_powers_stay_finite():
    weights = SpreadWeightedSum(power=200).weights([hits({"a": 1e9, "b": 0.0}), hits({"a": 1e-9, "b": 0.0})])
    assert weights.T.tolist() == [[1, 0]]


def test_the_default_knows_bm25_beside_cosines():
    fusion = default_fusion({"bm25": "bm25", "dense": "cosine"})
    assert fusion == SpreadWeightedSum(
        scales={"bm25": 1.0, "dense": 20.0}, floors={"bm25": 0.0, "dense": 0.5}, rare_words=True
    )
    assert set(run(fusion(LEGS))[0]) == {"a", "b", "c", "d"}
    assert default_fusion({"a": "cosine", "b": "bm25", "c": "cosine"}).floors == {"a": 0.25, "b": 0.0, "c": 0.25}


@pytest.mark.parametrize("kinds", [["bm25", "impact"], ["bm25", "cosine", "impact"], ["bm25", "dot"]])
def test_the_default_gives_equal_weights_to_kinds_that_were_not_measured(kinds):
    fusion = default_fusion(dict(zip("abc", kinds, strict=False)))
    assert fusion == SpreadWeightedSum(power=0, rare_words=True)
    assert run(fusion(LEGS)) == [pytest.approx(found) for found in run(WeightedSum()(LEGS))]


@pytest.mark.parametrize("kinds", [["cosine", "cosine"], ["impact", "cosine"], ["bm25"], ["cosine"]])
def test_the_default_knows_no_rare_words_without_a_leg_of_words_beside_another(kinds):
    assert default_fusion(dict(zip("ab", kinds, strict=False))) == WeightedSum()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scales": [1]}, "scales for 1 leg, not for 2 legs"),
        ({"scales": [1, 0]}, "above 0"),
        ({"floors": [0.5]}, "floors for 1 leg, not for 2 legs"),
        ({"floors": [0.7, 0.5]}, "a sum of at most 1"),
        ({"floors": [-0.1, 0.5]}, "0 or more"),
        ({"scales": {"bm25": 1, "splade": 1}}, "scales are for the legs"),
    ],
)
def test_what_does_not_fit_the_legs_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        SpreadWeightedSum(**options)(LEGS)


@pytest.mark.parametrize("power", [-1, float("nan"), float("inf")])
def test_a_power_that_is_none_is_refused(power):
    with pytest.raises(InputError, match="power must be 0 or more"):
        SpreadWeightedSum(power=power)
