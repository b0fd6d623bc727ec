"""Significance: against scipy and statsmodels' published values, worked by hand, and at the edges."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from indexing.errors import InputError
from pipelines.measures import significance
from pipelines.measures.significance import compare_paired, compare_systems, holm

values = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=9)


def pair(seed: int, queries: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    baseline = random.random(queries)
    return np.clip(baseline + random.normal(shift, 0.2, queries), 0, 1), baseline


@pytest.mark.parametrize(("queries", "shift"), [(2, 0.1), (10, 0.0), (50, 0.05), (300, 0.02), (300, 0.2)])
def test_the_t_test_is_scipys(queries, shift):
    system, baseline = pair(queries, queries, shift)

    assert compare_paired(system, baseline).p_t == pytest.approx(stats.ttest_rel(system, baseline).pvalue, rel=1e-9)


def test_gains_and_losses_that_cancel_are_no_difference_however_they_round():
    # In float64 the four differences add up to 5.6e-17, and so do some of their sign patterns to 0.
    found = compare_paired([0.85, 0.0, 0.0, 0.0], [0.0, 0.15, 0.5, 0.2])

    assert found.p_fisher == 1.0


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_with_few_queries_the_randomisation_test_tries_every_sign(data):
    system = data.draw(values)
    baseline = data.draw(st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=len(system), max_size=len(system)))
    differences = np.array(system) - np.array(baseline)
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=len(differences))]
    expected = np.mean([one >= abs(differences.sum()) - 1e-9 for one in sums])

    assert compare_paired(system, baseline, samples=20).p_fisher == pytest.approx(expected, abs=1e-12)


def test_with_many_queries_the_randomisation_test_is_scipys_within_its_error():
    system, baseline = pair(3, 80, 0.04)
    expected = stats.permutation_test(
        (system - baseline,), np.mean, permutation_type="samples", n_resamples=40_000, rng=np.random.default_rng(2)
    ).pvalue
    assert 0.01 < expected < 0.5

    found = compare_paired(system, baseline, samples=40_000).p_fisher

    assert found == pytest.approx(expected, abs=4 * math.sqrt(2 * expected * (1 - expected) / 40_000))


def test_sampled_and_exact_agree_around_the_bound(monkeypatch):
    system, baseline = pair(3, 12, 0.06)
    exact = compare_paired(system, baseline).p_fisher

    monkeypatch.setattr(significance, "EXACT_QUERIES", 0)
    sampled = compare_paired(system, baseline, samples=50_000).p_fisher

    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 50_000) + 1 / 50_000)


def test_the_interval_is_scipys_percentile_bootstrap_within_its_error():
    system, baseline = pair(4, 120, 0.05)
    expected = stats.bootstrap(
        (system - baseline,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval

    low, high = compare_paired(system, baseline, samples=20_000).interval

    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.03 * (expected.high - expected.low))
    assert low < np.mean(system - baseline) < high


def test_an_example_worked_by_hand():
    # Differences 3, 1, 2, 0, all but one positive: of 8 signs of the three that differ, +++ and --- are as extreme.
    found = compare_paired([0.8, 0.4, 0.9, 0.5], [0.5, 0.3, 0.7, 0.5])

    assert found.difference == pytest.approx(0.15)
    assert found.p_fisher == 2 / 8
    # mean 1.5, deviation sqrt(5/3), so t = 1.5 / sqrt(5/12) with 3 degrees of freedom.
    assert found.p_t == pytest.approx(2 * stats.t.sf(1.5 / math.sqrt(5 / 12), 3))
    assert (found.wins, found.ties, found.losses) == (3, 1, 0)
    assert 0 <= found.interval[0] < 0.15 < found.interval[1] <= 0.3


def test_the_order_of_the_two_turns_signs_only():
    system, baseline = pair(6, 40, 0.05)

    forth, back = compare_paired(system, baseline), compare_paired(baseline, system)

    assert back.difference == -forth.difference
    assert (back.p_t, back.wins, back.losses) == (forth.p_t, forth.losses, forth.wins)
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]), abs=0.005)


def test_equal_systems_differ_by_nothing():
    found = compare_paired([0.5, 1.0, 0.0], [0.5, 1.0, 0.0])

    assert found == significance.Comparison(0.0, (0.0, 0.0), 1.0, 1.0, 0, 3, 0)


def test_values_that_differ_by_rounding_only_are_ties():
    found = compare_paired([0.1 + 0.2, 1.0], [0.3, 1.0])

    assert (found.difference, found.p_fisher, found.ties) == (0.0, 1.0, 2)


def test_the_same_gain_on_every_query_is_certain_to_the_t_test():
    found = compare_paired([0.6, 0.7, 0.9], [0.5, 0.6, 0.8])

    assert found.p_t == 0.0
    assert found.p_fisher == 2 / 8
    assert found.interval == pytest.approx((0.1, 0.1))


def test_one_query_says_nothing():
    found = compare_paired([0.7], [0.2])

    assert math.isnan(found.p_t)
    assert found.p_fisher == 1.0
    assert (found.wins, found.ties, found.losses) == (1, 0, 0)


def test_equal_seeds_give_equal_results_whatever_the_portions(monkeypatch):
    system, baseline = pair(7, 61, 0.04)
    whole = compare_paired(system, baseline, seed=3)
    assert whole == compare_paired(system, baseline, seed=3)
    assert whole.p_fisher != compare_paired(system, baseline, seed=4).p_fisher

    monkeypatch.setattr(significance, "CELLS", 61 * 7)
    assert compare_paired(system, baseline, seed=3) == whole


@pytest.mark.parametrize(
    ("system", "baseline", "says"),
    [
        ([1.0, 0.5], [1.0], "2 values of the system and 1 of the baseline"),
        ([], [], "at least one query"),
        ([[1.0]], [[1.0]], "one value for each query"),
        ([0.5, math.nan], [0.5, 0.5], "the value of the system for query number 1 is nan"),
        ([0.5], [math.inf], "the value of the baseline for query number 0 is inf"),
    ],
)
def test_columns_that_cannot_be_paired_are_refused(system, baseline, says):
    with pytest.raises(InputError, match=says):
        compare_paired(system, baseline)


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="at least 1 sample"):
        compare_paired([1.0], [0.5], samples=0)


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        # As R's p.adjust(p, "holm") and statsmodels' multipletests(p, method="holm") give.
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm(raw, adjusted):
    assert holm(raw) == pytest.approx(adjusted)


def test_holm_leaves_tests_out_that_could_not_be_made():
    found = holm([0.01, math.nan, 0.04])

    assert math.isnan(found[1])
    assert [found[0], found[2]] == pytest.approx([0.02, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_values_and_bonferroni_and_keeps_their_order(raw):
    found = holm(raw)

    assert all(p <= q <= min(1, len(raw) * p) + 1e-12 for p, q in zip(raw, found, strict=True))
    assert [found[at] for at in np.argsort(raw, kind="stable")] == sorted(found)


def test_systems_are_compared_with_the_baseline_and_corrected_together():
    base, better = pair(8, 30)[1], np.clip(pair(8, 30)[1] + 0.1, 0, 1)
    per_query = {
        "bm25": {"nDCG@10": base, "R@100": base},
        "dense": {"nDCG@10": better, "R@100": base},
        "hybrid": {"nDCG@10": better + 0.1, "R@100": better},
    }

    block = compare_systems(per_query, "bm25")

    assert list(block) == ["dense", "hybrid"]
    alone = compare_paired(better, base)
    assert block["dense"]["nDCG@10"] == {
        "baseline": "bm25",
        "difference": alone.difference,
        "interval": list(alone.interval),
        "p_t": alone.p_t,
        "p_fisher": alone.p_fisher,
        "p_holm": pytest.approx(2 * alone.p_fisher),
        "wins": alone.wins,
        "ties": alone.ties,
        "losses": alone.losses,
    }
    assert block["dense"]["R@100"]["p_holm"] == 1.0
    assert list(compare_systems(per_query, "dense", ["R@100"])["bm25"]) == ["R@100"]


def test_a_p_value_that_there_is_not_is_none():
    block = compare_systems({"a": {"P@1": [1.0]}, "b": {"P@1": [0.0]}}, "a")

    assert block["b"]["P@1"]["p_t"] is None


def test_an_unknown_baseline_or_measure_is_refused():
    with pytest.raises(InputError, match="'c' is none of the systems: a, b"):
        compare_systems({"a": {}, "b": {}}, "c")
    with pytest.raises(InputError, match="'b' has no values of P@1; it has: RR"):
        compare_systems({"a": {"P@1": [1.0]}, "b": {"RR": [0.0]}}, "a")
