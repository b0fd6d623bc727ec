"""Each fusion against its written formula, worked by hand, and against plain Python on random runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion import reciprocal_rank_fusion, weighted_sum

FUSIONS = [reciprocal_rank_fusion, weighted_sum]


def hits(*runs: dict[str, float]) -> Hits:
    queries = [str(number) for number in range(len(runs))]
    return Hits.from_run(dict(zip(queries, runs, strict=True)), queries)


def run(fused: Hits) -> list[dict[str, float]]:
    return list(fused.to_run([str(number) for number in range(len(fused))]).values())


BM25 = {"a": 9.0, "b": 5.0, "c": 1.0}
DENSE = {"b": 0.9, "d": 0.5}


def test_rrf_worked_by_hand():
    fused = reciprocal_rank_fusion([hits(BM25), hits(DENSE)])
    assert run(fused) == [
        pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "d": 1 / 62, "c": 1 / 63}, abs=1e-15),
    ]
    assert fused[0].doc_ids == ["b", "a", "d", "c"]


def test_rrf_weights_multiply_and_k_is_given():
    fused = reciprocal_rank_fusion([hits(BM25), hits(DENSE)], k=0, weights=[2, 1])
    assert run(fused) == [pytest.approx({"a": 2, "b": 2 / 2 + 1, "c": 2 / 3, "d": 1 / 2})]


def test_weighted_sum_worked_by_hand():
    fused = weighted_sum([hits(BM25), hits(DENSE)], weights=[1, 3])
    assert run(fused) == [pytest.approx({"a": 0.25, "b": 0.25 * 0.5 + 0.75, "c": 0.0, "d": 0.0})]
    assert fused[0].doc_ids == ["b", "a", "c", "d"], "equal scores by doc_id"


def test_weighted_sum_counts_a_single_hit_and_equal_scores_as_the_best():
    fused = weighted_sum([hits({"a": -3.0}), hits({"b": 2.0, "c": 2.0})])
    assert run(fused) == [pytest.approx({"a": 0.5, "b": 0.5, "c": 0.5})]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_empty_answers(fusion):
    assert run(fusion([hits({}, DENSE), hits({}, {})]))[0] == {}
    assert len(fusion([Hits.empty(0), Hits.empty(0)])) == 0
    assert run(fusion([hits({}), hits({"x": 1.0})]))[0].keys() == {"x"}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_provenance_survives(fusion):
    fused = fusion([hits(BM25).as_leg("bm25"), hits(DENSE).as_leg("dense")])
    best = fused[0][0]
    assert best.doc_id == "b"
    assert (best.legs["bm25"].rank, best.legs["bm25"].score) == (2, 5.0)
    assert (best.legs["dense"].rank, best.legs["dense"].score) == (1, 0.9)
    only_bm25 = next(hit for hit in fused[0] if hit.doc_id == "a")
    assert set(only_bm25.legs) == {"bm25"}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("answers", "weights", "says"),
    [
        ([], None, "no leg"),
        ([hits(BM25), hits(DENSE, DENSE)], None, "different numbers of queries"),
        ([hits(BM25)], [1, 1], "2 weights for 1 legs"),
        ([hits(BM25)], [0], "not all 0"),
        ([hits(BM25)], [-1], "0 or more"),
        ([hits(BM25)], [float("nan")], "0 or more"),
        ([hits(BM25).as_leg("x"), hits(DENSE).as_leg("x")], None, "two legs are called 'x'"),
    ],
)
def test_what_cannot_be_fused_is_refused(fusion, answers, weights, says):
    with pytest.raises(InputError, match=says):
        fusion(answers, weights=weights)


def test_rrf_refuses_a_constant_that_divides_by_zero():
    with pytest.raises(InputError, match="k must be above -1"):
        reciprocal_rank_fusion([hits(BM25)], k=-1)


one_leg = st.lists(
    st.dictionaries(st.sampled_from([f"d{i}" for i in range(12)] + ["ö", "日"]), st.integers(-4, 4).map(float)),
    min_size=3,
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(one_leg, min_size=1, max_size=3))
def test_equal_to_plain_python_with_ties_missing_documents_and_negative_scores(legs):
    answers = [hits(*leg) for leg in legs]
    by_rrf, by_sum = run(reciprocal_rank_fusion(answers)), run(weighted_sum(answers))
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


@pytest.mark.parametrize("fusion", FUSIONS)
def test_legs_with_tables_of_their_own_meet_on_the_same_document(fusion):
    rng = np.random.default_rng(1)
    ids = [f"doc {number}" for number in range(500)]
    left = {doc_id: float(rng.random()) for doc_id in rng.permutation(ids)[:300]}
    right = {doc_id: float(rng.random()) for doc_id in rng.permutation(ids)[:300]}
    fused = fusion([hits(left), hits(right)])
    assert set(fused[0].doc_ids) == set(left) | set(right)
