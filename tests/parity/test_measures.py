"""Every measure, by the name ir-measures gives it, against what ir-measures' own references compute."""

import pkgutil
import subprocess

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.hits import Hits
from pipelines.measures.evaluate import evaluate
from pipelines.measures.measures import Measure

NAMES = [
    "nDCG",
    "nDCG@3",
    "nDCG@10",
    "AP",
    "AP@5",
    "AP(rel=2)@100",
    "AP(rel=2,judged_only=True)",
    "RR",
    "RR(rel=3)",
    "RR@2",
    "RR(rel=2)@4",
    "R@1",
    "R@100",
    "R(rel=2)@5",
    "P@5",
    "P(rel=2)@3",
    "P(judged_only=True)@5",
    "nDCG(judged_only=True)@5",
    "Success@1",
    "Success(rel=2)@5",
    "Rprec",
    "Rprec(rel=2)",
    "Bpref",
    "Bpref(rel=2)",
    "Judged@1",
    "Judged@10",
    "Judged",
    "RBP(rel=1)",
    "RBP(p=0.5,rel=2)",
]

doc_ids = st.sampled_from([f"d{number}" for number in range(24)])
query_ids = st.sampled_from(["1", "2", "3", "10"])
# Their references break ties in three ways: here no two scores are the same (ties: test_trec_eval.py).
rankings = st.lists(doc_ids, unique=True, min_size=1, max_size=24)
runs = st.dictionaries(query_ids, rankings, max_size=4).map(
    lambda run: {q: {doc_id: float(-place) for place, doc_id in enumerate(found)} for q, found in run.items()}
)
# trec_eval reads memory it never set when all grades of a query are negative, so one of them is not.
judged_documents = st.dictionaries(doc_ids, st.integers(-2, 4), min_size=1, max_size=24).filter(
    lambda grades: max(grades.values()) >= 0
)
judgements = st.dictionaries(query_ids, judged_documents, min_size=1, max_size=4)


def reference(name, run, qrels):
    """ir-measures' values, its default for a query that the run lacks."""
    return {
        found.query_id: found.value for found in ir_measures.iter_calc([ir_measures.parse_measure(name)], qrels, run)
    }


def gdeval(run, qrels, k):
    """TREC's gdeval.pl, which ir-measures carries, with all the digits it has: {query: (nDCG, ERR)}."""
    script = pkgutil.get_data("ir_measures", "bin/gdeval.pl").decode()
    assert script.count("%.5f") == 2
    with (
        ir_measures.util.QrelsConverter(qrels).as_tmp_file() as judged,
        ir_measures.util.RunConverter(run).as_tmp_file() as found,
    ):
        done = subprocess.run(
            ["perl", "-", judged.name, found.name, str(k)],
            input=script.replace("%.5f", "%.15f"),
            capture_output=True,
            text=True,
            check=True,
        )
    rows = [line.split(",") for line in done.stdout.splitlines()[1:]]
    return {query_id: (float(ndcg), float(err)) for _, query_id, ndcg, err in rows}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(runs, judgements)
def test_a_measure_equals_ir_measures(name, run, qrels):
    expected = reference(name, run, qrels)

    from_run = evaluate(run, qrels, [name])
    from_hits = evaluate(Hits.from_run(run, list(run)), qrels, [name], queries=list(run))

    for scores in (from_run, from_hits):
        assert dict(zip(scores.query_ids, scores.per_query[name], strict=True)) == pytest.approx(expected, abs=1e-9)
    assert from_run.means[name] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_err_and_exponential_gains_equal_gdeval(k):
    random = np.random.default_rng(k)
    documents = [f"d{number}" for number in range(60)]
    qrels = {
        str(q): {doc_id: int(random.integers(-2, 5)) for doc_id in random.choice(documents, 20, False)}
        | {"good": 1 + q % 4}
        for q in range(60)
    }
    run = {
        str(q): {
            str(doc_id): float(-place)
            for place, doc_id in enumerate(random.permutation([*documents, "good"])[: random.integers(1, 50)])
        }
        for q in range(50)
    }
    expected = gdeval(run, qrels, k)
    assert len(expected) == 50
    ndcg, err = f"nDCG(dcg='exp-log2')@{k}", f"ERR@{k}"

    scores = evaluate(run, qrels, [ndcg, err])

    for at, query_id in enumerate(scores.query_ids):
        wanted = expected.get(query_id, (0.0, 0.0))
        assert scores.per_query[ndcg][at] == pytest.approx(wanted[0], abs=1e-9)
        assert scores.per_query[err][at] == pytest.approx(wanted[1], abs=1e-9)


@pytest.mark.parametrize("name", [*NAMES, "RBP(p=0.9)@10", "ERR@20", "nDCG(dcg='exp-log2')@10"])
def test_names_mean_the_same_to_both(name):
    theirs = ir_measures.parse_measure(name)
    theirs.validate_params()

    assert str(Measure.parse(name)) == name
    assert ir_measures.parse_measure(str(Measure.parse(str(theirs)))).params == theirs.params
