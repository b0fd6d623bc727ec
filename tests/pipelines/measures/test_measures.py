"""Measures: hand-worked values, names, and which queries count. (Equality with trec_eval: tests/parity.)"""

import re
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.measures.evaluate import evaluate
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Qrels

# Grades by rank: 2, not judged, 0, 1, -1; a relevant document of grade 3 was not found.
RUN = {"q": {"two": 5.0, "unknown": 4.0, "zero": 3.0, "one": 2.0, "minus": 1.0}}
QRELS = {"q": {"two": 2, "zero": 0, "one": 1, "minus": -1, "lost": 3}}

DCG_5 = 2 / log2(2) + 1 / log2(5)
IDEAL_5 = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("ndcg@5", DCG_5 / IDEAL_5),
        ("ndcg@2", 2 / (3 + 2 / log2(3))),
        ("ndcg", DCG_5 / IDEAL_5),
        ("map@5", (1 / 1 + 2 / 4) / 3),
        ("map@3", (1 / 1) / 3),
        ("map", (1 / 1 + 2 / 4) / 3),
        ("mrr@5", 1.0),
        ("recall@5", 2 / 3),
        ("recall@1", 1 / 3),
        ("recall", 2 / 3),
        ("p@5", 2 / 5),
        ("p@10", 2 / 10),
        ("p@1", 1.0),
        ("nDCG(dcg='exp-log2')@2", 3 / (7 + 3 / log2(3))),
        ("AP(rel=2)@5", 1 / 2),
        ("RR(rel=3)", 0.0),
        ("P(rel=2)@5", 1 / 5),
        ("P(judged_only=True)@3", 2 / 3),
        ("AP(judged_only=True)", (1 / 1 + 2 / 3) / 3),
        ("Success@1", 1.0),
        ("Success(rel=3)@5", 0.0),
        ("Rprec", 1 / 3),
        ("Rprec(rel=2)", 1 / 2),
        ("Judged@2", 1 / 2),
        ("Judged@10", 4 / 5),
        ("Bpref", (1 + (1 - 1 / 1)) / 3),
        ("RBP(rel=1)", 0.2 * (1 + 0.8**3)),
        ("RBP(p=0.5,rel=1)@3", 0.5),
        ("RBP(p=0.5)", 0.5 * (2 + 0.5**3)),
        ("ERR@5", 3 / 16 + (1 - 3 / 16) * (1 / 16) / 4),
        ("ERR@3", 3 / 16),
    ],
)
def test_a_worked_example(measure, expected):
    assert evaluate(RUN, QRELS, [measure]).means[measure] == pytest.approx(expected, abs=1e-12)


def test_reciprocal_rank_is_of_the_first_relevant_document_within_the_cutoff():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    qrels = {"q": {"b": 0, "c": 1}}

    means = evaluate(run, qrels, ["mrr@2", "mrr@3", "rr"]).means

    assert means == {"mrr@2": 0.0, "mrr@3": pytest.approx(1 / 3), "rr": pytest.approx(1 / 3)}


def test_every_judged_query_counts_and_no_other_does():
    run = {"found": {"d": 1.0}, "nothing relevant": {"d": 1.0}, "empty": {}, "not judged": {"d": 1.0}}
    qrels = {"found": {"d": 1}, "nothing relevant": {"d": 0}, "empty": {"d": 1}, "not in the run": {"d": 2}}

    scores = evaluate(run, qrels, ["ndcg@10", "recall@10"])

    assert scores.query_ids == ("found", "nothing relevant", "empty", "not in the run")
    assert scores.per_query["ndcg@10"].tolist() == [1, 0, 0, 0]
    assert scores.means == {"ndcg@10": 0.25, "recall@10": 0.25}


def test_a_query_with_negative_grades_only_counts_zero():
    assert evaluate({"q": {"d": 1.0}}, {"q": {"d": -2}}, ["ndcg@1", "map@1", "p@1"]).means == {
        "ndcg@1": 0,
        "map@1": 0,
        "p@1": 0,
    }


def test_a_query_without_any_judgement_is_no_judged_query():
    assert evaluate({}, {"q": {"d": 1}, "none": {}}, ["p@1"]).query_ids == ("q",)


def test_hits_are_taken_in_our_order_and_runs_in_trec_evals():
    run = {"q": {"a": 1.0, "b": 1.0}}
    qrels = {"q": {"a": 1}}

    assert evaluate(Hits.from_run(run, ["q"]), qrels, ["p@1"], queries=["q"]).means == {"p@1": 1.0}
    assert evaluate(run, qrels, ["p@1"]).means == {"p@1": 0.0}


def test_in_a_run_scores_that_only_float64_tells_apart_are_tied():
    assert evaluate({"q": {"a": 1.0 + 1e-12, "b": 1.0}}, {"q": {"a": 1}}, ["p@1"]).means == {"p@1": 0.0}


def test_rows_of_hits_find_their_queries_whatever_their_order():
    run = {"q1": {"a": 1.0}, "q2": {"b": 1.0}, "extra": {"a": 1.0}}
    queries = ["extra", "q2", "q1"]

    scores = evaluate(Hits.from_run(run, queries), {"q1": {"a": 1}, "q2": {"a": 1}}, ["p@1"], queries=queries)

    assert dict(zip(scores.query_ids, scores.per_query["p@1"], strict=True)) == {"q1": 1.0, "q2": 0.0}


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 30), unique=True, max_size=20), st.lists(st.integers(0, 30), max_size=20)),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 25),
)
def test_recall_and_precision_are_counts(rankings, k):
    found = [[f"d{number}" for number in ranking] for ranking, _ in rankings]
    relevant = [{f"d{number}" for number in judged} | {"always"} for _, judged in rankings]
    queries = [f"q{number}" for number in range(len(rankings))]
    run = {
        q: {doc_id: -float(rank) for rank, doc_id in enumerate(docs)} for q, docs in zip(queries, found, strict=True)
    }
    qrels = {q: dict.fromkeys(sorted(docs), 1) for q, docs in zip(queries, relevant, strict=True)}

    scores = evaluate(run, qrels, [f"r@{k}", f"p@{k}"])

    hits = [len(set(docs[:k]) & judged) for docs, judged in zip(found, relevant, strict=True)]
    np.testing.assert_allclose(scores.per_query[f"r@{k}"], [n / len(j) for n, j in zip(hits, relevant, strict=True)])
    np.testing.assert_allclose(scores.per_query[f"p@{k}"], [n / k for n in hits])


@pytest.mark.parametrize(
    ("text", "measure", "written"),
    [
        ("nDCG@10", Measure("nDCG", 10), "nDCG@10"),
        ("ndcg@10", Measure("nDCG", 10), "nDCG@10"),
        ("MAP@100", Measure("AP", 100), "AP@100"),
        (" MRR ", Measure("RR"), "RR"),
        ("recall@1000", Measure("R", 1000), "R@1000"),
        ("AP(rel=2)@100", Measure("AP", 100, (("rel", 2),)), "AP(rel=2)@100"),
        ("AP(rel=1)@100", Measure("AP", 100), "AP@100"),
        ("RBP(rel=1, p=0.95)@20", Measure("RBP", 20, (("p", 0.95), ("rel", 1))), "RBP(p=0.95,rel=1)@20"),
        ("RBP(p=0.8)", Measure("RBP"), "RBP"),
        ("P(judged_only=True)@5", Measure("P", 5, (("judged_only", True),)), "P(judged_only=True)@5"),
        ("nDCG(dcg='exp-log2')@5", Measure("nDCG", 5, (("dcg", "exp-log2"),)), "nDCG(dcg='exp-log2')@5"),
        ("rprec", Measure("Rprec"), "Rprec"),
        ("BPref", Measure("Bpref"), "Bpref"),
    ],
)
def test_names_are_read_in_any_case_and_written_as_ir_measures_does(text, measure, written):
    assert Measure.parse(text) == measure
    assert str(measure) == written
    assert Measure.parse(written) == measure


def test_scores_are_named_as_they_were_asked_for():
    assert list(evaluate(RUN, QRELS, ["nDCG@10", "R@5"]).means) == ["nDCG@10", "R@5"]


@pytest.mark.parametrize("text", ["dcg@10", "ndcg@0", "ndcg@", "ndcg@-1", "ndcg@1.5", "", "@10", "AP(rel=2", "P@5@5"])
def test_an_unknown_measure_is_refused_with_the_known_ones(text):
    with pytest.raises(InputError, match=r"there is no measure .*nDCG\(dcg=…,judged_only=…\)\[@k\], AP.*ERR\[@k\]"):
        evaluate(RUN, QRELS, [text])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p", "needs a cutoff: P@10"),
        ("Success", "needs a cutoff: Success@10"),
        ("Rprec@5", "Rprec takes none"),
        ("ERR(rel=2)@5", "ERR has no option 'rel'; it has: none"),
        ("AP(level=2)", "AP has no option 'level'; it has: rel, judged_only"),
        ("AP(2)", "AP has no option '2'"),
        ("AP(rel=0)", "rel must be a whole number from 1, not '0'"),
        ("AP(rel=x)", "rel must be a whole number from 1, not 'x'"),
        ("AP(rel=2,rel=3)", "an option twice"),
        ("RBP(p=1)", "p must be a number between 0 and 1, not '1'"),
        ("RBP(p=nan)", "p must be a number between 0 and 1, not 'nan'"),
        ("P(judged_only=1)@5", "judged_only must be True or False, not '1'"),
        ("nDCG(dcg=log10)", "dcg must be log2 or exp-log2, not 'log10'"),
    ],
)
def test_a_measure_that_is_wrongly_written_is_refused_with_what_would_be_right(text, says):
    with pytest.raises(InputError, match=re.escape(says)):
        Measure.parse(text)


def test_err_refuses_grades_that_its_scale_lacks():
    with pytest.raises(InputError, match="'huge' has 5 for query 'q'"):
        evaluate(RUN, {"q": {"two": 2, "huge": 5}}, ["ERR@10"])


def test_hits_beyond_one_look_are_judged_alike(monkeypatch):
    random = np.random.default_rng(3)
    queries = [f"q{number}" for number in range(40)]
    run = {q: {f"d{d}": float(-place) for place, d in enumerate(random.permutation(60)[:30])} for q in queries[::-1]}
    qrels = {q: {f"d{d}": int(random.integers(-1, 3)) for d in random.permutation(70)[:9]} for q in queries[5:]}
    hits = Hits.from_run(run, queries)
    whole = evaluate(hits, qrels, ["nDCG@10", "Judged@10", "AP"], queries=queries)

    monkeypatch.setattr("pipelines.measures.qrels.HITS_PER_BLOCK", 50)
    in_parts = evaluate(hits, qrels, ["nDCG@10", "Judged@10", "AP"], queries=queries)

    assert in_parts.means == whole.means == evaluate(run, qrels, ["nDCG@10", "Judged@10", "AP"]).means
    assert whole.means["AP"] > 0


def test_judgements_are_coded_once_for_many_answers():
    qrels = Qrels.from_dict(QRELS)

    assert evaluate(RUN, qrels).means == evaluate(RUN, QRELS).means
    assert qrels.grades.tolist() == [3, 2, 1, 0, -1]


@pytest.mark.parametrize("qrels", [{}, {"q": {}}])
def test_nothing_judged_is_refused(qrels):
    with pytest.raises(InputError, match="nothing can be scored"):
        evaluate(RUN, qrels)


def test_what_names_the_rows_must_fit_them():
    hits = Hits.from_run(RUN, ["q"])
    with pytest.raises(InputError, match="give the query ids"):
        evaluate(hits, QRELS)
    with pytest.raises(InputError, match="2 query ids for the hits of 1 query"):
        evaluate(hits, QRELS, queries=["q", "r"])
    with pytest.raises(InputError, match="'q' is given twice"):
        evaluate(Hits.from_run(RUN, ["q", "q"]), QRELS, queries=["q", "q"])
    with pytest.raises(InputError, match="a run has its own query ids"):
        evaluate(RUN, QRELS, queries=["q"])


def test_a_score_that_is_not_a_number_is_refused_with_its_document():
    with pytest.raises(InputError, match="document 'bad' for query 'q2' is NaN"):
        evaluate({"q1": {"a": 1.0}, "q2": {"a": 1.0, "bad": float("nan")}}, {"q1": {"a": 1}, "q2": {"a": 1}})


@pytest.mark.parametrize("grade", [0.9, 1.9, float("nan"), float("inf"), "1", None, np.float32(0.5)])
def test_a_grade_that_is_no_whole_number_is_refused_with_query_and_document(grade):
    with pytest.raises(InputError, match=r"grade of document 'd2' for query 'q1' is .*: grades are whole numbers"):
        evaluate({"q1": {"d1": 3.0}}, {"q1": {"d1": 1, "d2": grade}}, ["nDCG@10"])


@pytest.mark.parametrize("one", [1, True, 1.0, np.int8(1), np.float64(1.0)])
def test_a_whole_grade_of_any_type_counts(one):
    assert evaluate({"q1": {"d1": 3.0}}, {"q1": {"d1": one}}, ["nDCG@10"]).means == {"nDCG@10": 1.0}


def test_ids_of_one_type_are_compared_and_those_of_two_are_refused():
    def score(run, qrels):
        return evaluate(run, qrels, ["RR"]).means["RR"]

    assert score({1: {7: 3.0, 8: 4.0}}, {1: {7: 1}}) == 0.5
    assert score({np.int64(1): {np.int32(7): 3.0}}, {1: {7: 1}}) == 1.0
    assert score({np.str_("q1"): {np.str_("d"): 3.0}}, {"q1": {"d": 1}}) == 1.0
    for run, qrels, what in [
        ({"q1": {7: 3.0}}, {"q1": {"7": 1}}, "document ids are texts in the judgements and numbers in the answer"),
        ({"q1": {"7": 3.0}}, {"q1": {7: 1}}, "document ids are numbers in the judgements and texts in the answer"),
        ({1: {"7": 3.0}}, {"1": {"7": 1}}, "query ids are texts in the judgements and numbers in the answer"),
        ({"q1": {"7": 3.0}}, {"q1": {"7": 1, 8: 1}}, "must be all texts or all numbers"),
        ({"q1": {b"7": 3.0}}, {"q1": {"7": 1}}, "not bytes"),
    ]:
        with pytest.raises(InputError, match=what):
            score(run, qrels)
    hits = Hits.from_run({"1": {"7": 3.0}}, ["1"])
    with pytest.raises(InputError, match="query ids are texts in the judgements and numbers in the answer"):
        evaluate(hits, {"1": {"7": 1}}, ["RR"], queries=[1])
    with pytest.raises(InputError, match="document ids are numbers in the judgements"):
        evaluate(hits, {"1": {7: 1}}, ["RR"], queries=["1"])


@pytest.mark.parametrize("wrong", [["d1", "d2"], {"d1"}, "d1", None, [("d1", 1.0)], 3])
def test_an_answer_or_a_judgement_that_is_no_dict_is_refused(wrong):
    right = {"q1": {"d1": 1}}
    for run, qrels in [({"q1": wrong}, right), (right, {"q1": wrong}), (wrong, right), (right, wrong)]:
        with pytest.raises(InputError, match=r"must be a dict as in \{"):
            evaluate(run, qrels, ["RR"])


def test_a_score_that_is_a_text_is_refused_with_its_document():
    with pytest.raises(InputError, match="score of document 'd2' for query 'q1' is 'high', which is no number"):
        evaluate({"q1": {"d1": 1.0, "d2": "high"}}, {"q1": {"d1": 1}}, ["RR"])
