"""Candidate ceilings and unjudged rates, against definitions written out."""

from itertools import permutations

import numpy as np
import pytest

from indexing.hits import Hits
from pipelines.evaluation.external_runs import hits_of_run
from pipelines.evaluation.pool import best_order, grades_of, unjudged_rate
from pipelines.measures.evaluate import evaluate
from pipelines.measures.qrels import Qrels

RUN = {
    "q1": {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0, "e": 1.0},
    "q2": {"a": 2.0, "z": 1.0},
    "q3": {},
    "not judged": {"a": 1.0},
}
QRELS = {"q1": {"c": 1, "d": 3, "e": 2, "b": -1, "never found": 2}, "q2": {"z": 1, "y": 0}, "q3": {"a": 1}}
QUERIES = list(RUN)
MEASURES = ["nDCG@3", "AP@5", "RR@5", "R@3"]


def test_the_best_order_reaches_what_the_best_permutation_of_the_head_reaches():
    hits = Hits.from_run(RUN, QUERIES)

    best = evaluate(best_order(hits, Qrels.from_dict(QRELS), QUERIES, 4), QRELS, MEASURES, queries=QUERIES)

    for number, query_id in enumerate(best.query_ids):
        found = list(RUN[query_id])
        orders = [[*head, *found[4:]] for head in permutations(found[:4])]
        for measure in MEASURES:
            reached = [
                evaluate({query_id: {doc: -float(at) for at, doc in enumerate(order)}}, QRELS, [measure]).per_query[
                    measure
                ][number]
                for order in orders
            ]
            assert best.per_query[measure][number] == pytest.approx(max(reached), abs=1e-12)


def test_the_tail_stays_below_in_its_own_order():
    best = best_order(Hits.from_run(RUN, QUERIES), Qrels.from_dict(QRELS), QUERIES, 2)

    assert best[0].doc_ids == ["a", "b", "c", "d", "e"]


def test_grades_are_told_from_what_nobody_judged():
    grades = grades_of(Hits.from_run(RUN, QUERIES), Qrels.from_dict(QRELS), QUERIES)

    np.testing.assert_array_equal(grades, [np.nan, -1, 1, 3, 2, np.nan, 1, np.nan])


def test_the_unjudged_rate_is_over_all_hits_within_the_depth():
    hits = Hits.from_run({"q1": RUN["q1"], "q2": RUN["q2"]}, ["q1", "q2"])

    assert unjudged_rate(hits, Qrels.from_dict(QRELS), ["q1", "q2"], 2) == 2 / 4
    assert unjudged_rate(Hits.empty(2), Qrels.from_dict(QRELS), ["q1", "q2"], 2) == 0


def test_an_imported_run_is_in_trec_evals_order_ties_and_all():
    run = {"q1": {"b": 1.0, "d": 1.0, "c": 1.0 + 1e-12, "a": 2.0}, "q2": {"z": -1.0}}

    hits = hits_of_run(run, ["q1", "q2", "q3"])

    assert [ranking.doc_ids for ranking in hits] == [["a", "d", "c", "b"], ["z"], []]
    assert (np.diff(hits[0].scores) < 0).all()
    ours = evaluate(hits, QRELS, MEASURES, queries=["q1", "q2", "q3"])
    assert ours.means == evaluate(run, QRELS, MEASURES).means
