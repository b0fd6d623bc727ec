"""Scores of candidates that a leg did not return."""

import numpy as np
import pytest

from fusing import BM25, DENSE, hits, run
from indexing.errors import InputError
from retrieve.fusion import CombSum, ReciprocalRank, WeightedSum

LEGS = [hits(BM25, DENSE), hits(DENSE, {})]


def true_scores(asked):
    """Return a leg's true scores: 5 for b, and for d a score below all it returned."""

    def complete(leg, rows, doc_ids):
        asked.append((leg, rows.tolist(), doc_ids))
        known = [{"d": -3.0, "b": 0.5}, {"a": 0.3, "c": 0.1, "b": 0.2, "d": 0.0}][leg]
        return np.array([known[doc_id] for doc_id in doc_ids], np.float32)

    return complete


def test_zero_and_skip_add_nothing():
    for missing in ("zero", "skip"):
        fused = CombSum(normalizer="none", missing=missing)(LEGS)
        assert run(fused)[0] == pytest.approx({"a": 9, "b": 5.9, "c": 1, "d": 0.5})


def test_min_is_the_legs_lowest_for_the_query_and_0_from_a_leg_without_hits():
    fused = CombSum(normalizer="none", missing="min")(LEGS)
    assert run(fused) == [pytest.approx({"a": 9.5, "b": 5.9, "c": 1.5, "d": 1.5}), pytest.approx(DENSE)]


def test_score_computes_the_true_scores_in_one_call_a_leg():
    asked = []
    fused = CombSum(normalizer="none", missing="score")(LEGS, complete=true_scores(asked))
    assert asked == [(0, [0], ["d"]), (1, [0, 0, 1, 1], ["a", "c", "b", "d"])]
    assert run(fused) == [
        pytest.approx({"a": 9.3, "b": 5.9, "c": 1.1, "d": -2.5}),
        pytest.approx({"b": 1.1, "d": 0.5}),
    ]


def test_computed_scores_are_normalised_with_the_returned():
    fused = WeightedSum(missing="score")(LEGS, complete=true_scores([]))
    assert run(fused)[0] == pytest.approx(
        {"a": (1 + 0.25) / 2, "b": (8 / 12 + 1) / 2, "c": (4 / 12 + 0) / 2, "d": (0 + 0.5) / 2}
    )


def test_computed_scores_are_ranked_with_the_returned():
    fused = ReciprocalRank(k=0, missing="score")(LEGS, complete=true_scores([]))
    assert run(fused)[0] == pytest.approx({"a": 1 + 1 / 3, "b": 1 / 2 + 1, "c": 1 / 3 + 1 / 4, "d": 1 / 4 + 1 / 2})


def test_provenance_says_what_was_returned_not_what_was_computed():
    legs = [leg.as_leg(name) for leg, name in zip(LEGS, ("bm25", "dense"), strict=True)]
    fused = CombSum(missing="score")(legs, complete=true_scores([]))
    assert {hit.doc_id: set(hit.legs) for hit in fused[0]} == {
        "a": {"bm25"},
        "b": {"bm25", "dense"},
        "c": {"bm25"},
        "d": {"dense"},
    }
    bm25 = dict(zip(fused.part(0, 1).doc_ids, fused.part(0, 1).legs["bm25"].scores.tolist(), strict=True))
    assert bm25["d"] == -3.0, "what was computed stands beside rank 0"


@pytest.mark.parametrize("fusion", [CombSum(normalizer="none", missing="score"), ReciprocalRank(k=0, missing="score")])
def test_a_leg_that_cannot_say_adds_nothing_to_what_it_did_not_return(fusion):
    def complete(leg, rows, doc_ids):
        return None if leg == 0 else true_scores([])(leg, rows, doc_ids)

    one = [hits(BM25), hits(DENSE)]
    scored = run(fusion(one, complete=complete))[0]
    alone = run(fusion([hits({}), hits(DENSE)], complete=complete))[0]
    assert scored["d"] == alone["d"] if isinstance(fusion, CombSum) else scored["d"] == 1 / 2


def test_nothing_is_computed_where_nothing_is_missing():
    legs = [hits(BM25), hits(BM25)]
    assert run(CombSum(missing="score")(legs, complete=lambda *_: pytest.fail("asked"))) == run(CombSum()(legs))


def test_scores_that_cannot_be_had_are_asked_for_in_words():
    with pytest.raises(InputError, match="complete="):
        CombSum(missing="score")(LEGS)
    for wrong in ([1.0], np.full(4, np.nan)):
        with pytest.raises(InputError, match="one number is needed"):
            CombSum(missing="score")(LEGS, complete=lambda leg, rows, ids, wrong=wrong: np.array(wrong))


def test_a_policy_that_is_not_known_or_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="zero, min, score, skip"):
        CombSum(missing="mean")
    with pytest.raises(InputError, match="rrf supports missing='zero' or 'score'"):
        ReciprocalRank(missing="min")
