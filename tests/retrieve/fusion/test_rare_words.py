"""Hits that a leg marked for rare words come first; worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from fusing import hits, random_pairs, run
from indexing.hits import Hits
from retrieve.fusion import SpreadWeightedSum, WeightedSum, fusion_from_config

FIRST = SpreadWeightedSum(power=0, rare_words=True)


def marked(*runs: dict[str, float], first: int | list[int] = 1) -> Hits:
    """Return hits of which the first of each query are marked."""
    found = hits(*runs)
    counts = np.broadcast_to(first, len(found))
    return replace(found, rare=found.ranks <= counts[found.rows])


def test_the_only_hit_of_a_leg_comes_before_the_best_of_the_other():
    words, meaning = marked({"z": 6.0}).as_leg("bm25"), hits({"a": 0.9, "b": 0.5}).as_leg("dense")
    assert run(WeightedSum()([words, meaning])) == [{"a": 0.5, "z": 0.5, "b": 0.0}]
    # 0.5 + (1 - 0.5) * 0.5
    assert run(FIRST([words, meaning])) == [{"z": 0.75, "a": 0.5, "b": 0.0}]


def test_marked_hits_keep_the_order_of_the_fusion_and_the_others_their_scores():
    words = marked({"x": 9.0, "y": 8.0, "w": 1.0}, first=2).as_leg("bm25")
    meaning = hits({"a": 0.9, "y": 0.8, "x": 0.2, "b": 0.1}).as_leg("dense")
    before, after = run(WeightedSum()([words, meaning]))[0], run(FIRST([words, meaning]))[0]
    assert [name for name in before if name in "xy"] == list(after)[:2] == ["y", "x"]
    assert {name: after[name] for name in "abw"} == {name: before[name] for name in "abw"}


def test_nothing_changes_where_the_marked_hits_are_first_anyway():
    words, meaning = hits({"x": 9.0, "y": 1.0}).as_leg("bm25"), hits({"x": 0.9, "a": 0.1}).as_leg("dense")
    found = replace(words, rare=np.array([True, False]))
    assert run(FIRST([found, meaning])) == run(WeightedSum()([words, meaning]))


def test_a_marked_hit_is_first_even_when_its_leg_weighs_nothing():
    """The best of the others has the highest possible score then."""
    words, meaning = marked({"z": 6.0}).as_leg("bm25"), hits({"a": 0.9, "b": 0.5}).as_leg("dense")
    fusion = SpreadWeightedSum(floors={"bm25": 0.0, "dense": 1.0}, rare_words=True)
    assert fusion([words, meaning])[0].doc_ids == ["z", "a", "b"]


def test_two_legs_that_mark_the_same_hit_raise_it_once():
    one, other = marked({"z": 6.0, "y": 1.0}).as_leg("title"), marked({"z": 5.0, "y": 2.0}).as_leg("text")
    meaning = hits({"a": 0.9, "z": 0.1}).as_leg("dense")
    fused = FIRST.explain([one, other, meaning])
    assert fused.hits[0].doc_ids[0] == "z"
    assert [fused.legs[name].decided[0] for name in ("title", "text", "dense")] == [1, 0, 0]


@pytest.mark.parametrize("legs", [2, 3])
def test_in_every_query_the_marked_hits_are_the_first_and_the_scores_stay_between_0_and_1(legs):
    rng = np.random.default_rng(legs)
    words, *others = (*random_pairs(seed=1), random_pairs(seed=2)[0])[:legs]
    words = replace(words, rare=words.ranks <= rng.integers(0, 4, len(words))[words.rows]).as_leg("0")
    answers = [words, *(leg.as_leg(str(number)) for number, leg in enumerate(others, 1))]
    fused = SpreadWeightedSum(power=1, rare_words=True)(answers)
    plain = SpreadWeightedSum(power=1)(answers)
    assert fused.scores.min() >= 0
    assert fused.scores.max() <= 1 + 1e-12
    for row, ranking in enumerate(fused):
        names = {words.ids[words.codes[at]] for at in np.flatnonzero(words.rare & (words.rows == row))}
        assert set(ranking.doc_ids[: len(names)]) == names
        rest = [name for name in plain[row].doc_ids if name not in names]
        assert ranking.doc_ids[len(names) :] == rest


def test_a_batch_is_its_queries_one_by_one():
    words, meaning = random_pairs(seed=3)
    words = replace(words, rare=words.ranks <= 1)
    whole = FIRST([words.as_leg("bm25"), meaning.as_leg("dense")])
    for row in range(len(words)):
        alone = FIRST([words.part(row, row + 1).as_leg("bm25"), meaning.part(row, row + 1).as_leg("dense")])
        assert run(alone) == [run(whole)[row]]


def test_the_contributions_sum_to_the_score_and_the_leg_is_named():
    words, meaning = marked({"z": 6.0, "y": 1.0}).as_leg("bm25"), hits({"a": 0.9, "b": 0.5}).as_leg("dense")
    explained = FIRST.explain([words, meaning])
    total = explained.legs["bm25"].contribution + explained.legs["dense"].contribution
    assert total == pytest.approx(explained.hits.scores)
    assert explained.legs["bm25"].decided.tolist() == [1, 0, 0, 0]
    assert explained.top(1).legs["bm25"].decided.tolist() == [1]
    assert not explained.legs["dense"].decided.any()


def test_true_scores_of_the_other_legs_hits_keep_the_marks():
    words, meaning = marked({"z": 6.0, "y": 1.0}).as_leg("bm25"), hits({"a": 0.9, "b": 0.5}).as_leg("dense")
    fusion = SpreadWeightedSum(power=0, rare_words=True, missing="score")
    fused = fusion([words, meaning], complete=lambda leg, rows, ids: np.zeros(len(rows)))
    assert fused[0].doc_ids[0] == "z"


def test_a_configuration_asks_for_it():
    words, meaning = marked({"z": 6.0}).as_leg("bm25"), hits({"a": 0.9, "b": 0.5}).as_leg("dense")
    tuned = fusion_from_config({"method": "spread-weighted", "power": 0})
    assert tuned([words, meaning])[0].doc_ids == ["a", "z", "b"]
    asked = fusion_from_config({"method": "spread-weighted", "power": 0, "rare_words": True})
    assert asked([words, meaning])[0].doc_ids == ["z", "a", "b"]
    assert fusion_from_config(asked.as_config()) == asked


def test_marks_follow_their_hits():
    found = marked({"a": 3.0, "b": 2.0}, {"c": 1.0}, first=[1, 0])
    assert found.rare.tolist() == [True, False, False]
    assert found.top(1).rare.tolist() == [True, False]
    assert found.part(1, 2).rare.tolist() == [False]
    assert found.where(np.array([False, True, True])).rare.tolist() == [False, False]
    assert found.as_leg("bm25").rare.tolist() == [True, False, False]
    plain = hits({"d": 1.0})
    assert Hits.concatenate([found, plain]).rare.tolist() == [True, False, False, False]
    assert Hits.concatenate([plain, plain]).rare is None
