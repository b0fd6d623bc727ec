"""Behaviour common to all fusions: shapes, provenance, explanations, ties, the order of legs, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusing import BM25, DENSE, hits, random_pairs, run
from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion import METHODS, CombMax, RankDivided, ReciprocalRank, WeightedSum
from retrieve.fusion.method import WeightedMethod
from retrieve.fusion.score_method import ScoreMethod

ALL = [method() for method in METHODS.values()]
WEIGHTED = [method for method in ALL if isinstance(method, WeightedMethod)]


def by_name(method):
    return method.name


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_empty_answers(method):
    assert run(method([hits({}, DENSE), hits({}, {})]))[0] == {}
    assert len(method([Hits.empty(0), Hits.empty(0)])) == 0
    assert len(method([Hits.empty(2), Hits.empty(2)]).codes) == 0
    assert run(method([hits({}), hits({"x": 1.0})]))[0].keys() == {"x"}


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_one_leg_is_enough(method):
    assert set(run(method([hits(BM25)]))[0]) == set(BM25)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_scores_are_float64_and_provenance_survives(method):
    fused = method([hits(BM25).as_leg("bm25"), hits(DENSE).as_leg("dense")])
    assert fused.scores.dtype == np.float64
    both = next(hit for hit in fused[0] if hit.doc_id == "b")
    assert (both.legs["bm25"].rank, both.legs["bm25"].score) == (2, 5.0)
    assert (both.legs["dense"].rank, both.legs["dense"].score) == (1, 0.9)
    assert set(fused.legs) == {"bm25", "dense"}
    assert set(next(hit for hit in fused[0] if hit.doc_id == "a").legs) == {"bm25"}


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_an_explanation_adds_up(method):
    legs = [leg.as_leg(name) for leg, name in zip(random_pairs(), ("bm25", "dense"), strict=True)]
    explained = method.explain(legs)
    assert run(explained.hits) == run(method(legs))
    assert set(explained.legs) == {"bm25", "dense"}
    total = sum(leg.contribution for leg in explained.legs.values())
    assert np.allclose(total, explained.hits.scores, atol=1e-12)
    shares = sum(leg.share for leg in explained.legs.values())
    anything = np.any([leg.contribution != 0 for leg in explained.legs.values()], axis=0)
    assert np.allclose(shares, anything)


def test_an_explanation_by_hand():
    explained = WeightedSum(weights=[1, 3], missing="skip").explain([hits(BM25).as_leg("bm25"), hits(DENSE)]).top(2)
    assert explained.hits[0].doc_ids == ["b", "a"]
    words, meaning = explained.legs["bm25"], explained.legs["leg 2"]
    assert words.normalized.tolist() == [0.5, 1.0]
    assert np.array_equal(meaning.normalized, [1.0, np.nan], equal_nan=True)
    assert (words.contribution.tolist(), meaning.contribution.tolist()) == ([0.125, 0.25], [0.75, 0.0])
    assert (words.share.tolist(), meaning.share.tolist()) == (pytest.approx([1 / 7, 1]), pytest.approx([6 / 7, 0]))


def test_the_leg_that_decides_a_maximum_has_the_whole_share():
    explained = CombMax(normalizer="none").explain([hits(BM25), hits(DENSE)])
    assert explained.hits[0].doc_ids == ["a", "b", "c", "d"]
    assert explained.legs["leg 1"].share.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("method", ALL, ids=by_name)
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([], "no leg"),
        ([hits(BM25), hits(DENSE, DENSE)], "different numbers of queries"),
        ([hits(BM25).as_leg("x"), hits(DENSE).as_leg("x")], "two legs are called 'x'"),
    ],
)
def test_what_cannot_be_fused_is_refused(method, answers, says):
    with pytest.raises(InputError, match=says):
        method(answers)


@pytest.mark.parametrize("kind", [type(method) for method in WEIGHTED], ids=by_name)
@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1, 1], "weights for 2 legs, not for 1 leg"),
        ([0], "not all 0"),
        ([-1], "0 or more"),
        ([float("nan")], "0 or more"),
        ({"dense": 1}, "for the legs \\['dense'\\], and the legs are \\['bm25'\\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused(kind, weights, says):
    with pytest.raises(InputError, match=says):
        kind(weights=weights)([hits(BM25).as_leg("bm25")])


scores = st.integers(-4, 4).map(lambda eighths: eighths / 8) | st.floats(-5, 5, allow_subnormal=False)
one_leg = st.lists(
    st.dictionaries(st.sampled_from([f"d{i}" for i in range(12)] + ["ö", "日"]), scores), min_size=3, max_size=3
)


@settings(max_examples=100, deadline=None)
@given(st.lists(one_leg, min_size=2, max_size=4), st.sampled_from(ALL), st.randoms(use_true_random=False))
def test_the_order_of_the_legs_changes_nothing(legs, method, random):
    answers = [hits(*leg) for leg in legs]
    shuffled = random.sample(answers, len(answers))
    one, other = method(answers), method(shuffled)
    assert one.doc_ids == other.doc_ids
    assert one.scores.tolist() == other.scores.tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(one_leg, min_size=2, max_size=3), st.sampled_from(ALL))
def test_equal_scores_stand_by_doc_id(legs, method):
    for ranking in method([hits(*leg) for leg in legs]):
        keys = [(-hit.score, hit.doc_id) for hit in ranking]
        assert keys == sorted(keys)


@settings(max_examples=100, deadline=None)
@given(st.lists(one_leg, min_size=1, max_size=3))
def test_equal_to_plain_python(legs):
    answers = [hits(*leg) for leg in legs]
    by_rrf, by_sum = run(ReciprocalRank()(answers)), run(WeightedSum()(answers))
    for query in range(3):
        expected_rrf: dict[str, float] = {}
        expected_sum: dict[str, float] = {}
        for leg in legs:
            found = leg[query]
            order = sorted(found, key=lambda doc_id: (-found[doc_id], doc_id))
            for rank, doc_id in enumerate(order, start=1):
                expected_rrf[doc_id] = expected_rrf.get(doc_id, 0) + 1 / (60 + rank)
                low, high = min(found.values()), max(found.values())
                unit = 1.0 if high == low else (found[doc_id] - low) / (high - low)
                expected_sum[doc_id] = expected_sum.get(doc_id, 0) + unit / len(legs)
        assert by_rrf[query] == pytest.approx(expected_rrf, abs=1e-12)
        assert by_sum[query] == pytest.approx(expected_sum, abs=1e-12)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_legs_with_tables_of_their_own_meet_on_the_same_document(method):
    rng = np.random.default_rng(1)
    ids = [f"doc {number}" for number in range(500)]
    left = {doc_id: float(rng.random()) for doc_id in rng.permutation(ids)[:300]}
    right = {doc_id: float(rng.random()) for doc_id in rng.permutation(ids)[:300]}
    assert set(method([hits(left), hits(right)])[0].doc_ids) == set(left) | set(right)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_a_query_is_fused_as_if_it_were_alone(method):
    left, right = random_pairs(30, seed=3)
    together = run(method([left, right]))
    alone = [run(method([left.part(at, at + 1), right.part(at, at + 1)]))[0] for at in range(30)]
    assert together == [pytest.approx(found, abs=1e-12) for found in alone]
    assert [list(found) for found in together] == [list(found) for found in alone]


def test_every_method_of_scores_takes_every_policy():
    for method in ALL:
        policies = ("zero", "min", "score", "skip") if isinstance(method, ScoreMethod) else ("zero", "score")
        assert type(method).policies == policies
    assert RankDivided in map(type, WEIGHTED)
