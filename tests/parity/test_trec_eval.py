"""Our measures and our run files against trec_eval itself (through pytrec_eval)."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.hits import Hits
from indexing.runs import read_trec_run, write_trec_run
from pipelines.measures.evaluate import evaluate

CUTOFFS = (1, 3, 5, 10, 100)
THEIR_NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "p": "P"}
OUR_MEASURES = [f"{name}@{k}" for name in (*THEIR_NAMES, "mrr") for k in CUTOFFS] + ["ndcg", "map", "mrr"]

doc_ids = st.sampled_from([*(f"d{number}" for number in range(14)), "D1", "é", "文書", "𝒟", "~", "d1.0"])
query_ids = st.sampled_from(["q1", "q2", "q3", "10", "9", "ü"])
# Few distinct values, so that ties abound; 0.1 and its float32 neighbours differ only in float64.
scores = st.sampled_from([0.0, -0.0, 0.1, 0.1 + 1e-12, 0.1 - 1e-12, 1.0, 2.0, -3.5, 1e-46, 1e30]) | st.floats(-1e3, 1e3)
runs = st.dictionaries(query_ids, st.dictionaries(doc_ids, scores, max_size=18), max_size=6)
# trec_eval reads memory it never set when all grades of a query are negative, so one of them is not.
judged_documents = st.dictionaries(doc_ids, st.integers(-1, 4), min_size=1, max_size=18).filter(
    lambda grades: max(grades.values()) >= 0
)
judgements = st.dictionaries(query_ids, judged_documents, min_size=1, max_size=6)


def trec_eval(run, qrels):
    """trec_eval's values for every judged query, 0 where the run lacks it (its option -c)."""
    wanted = {f"{name}.{','.join(map(str, CUTOFFS))}" for name in THEIR_NAMES.values()} | {"ndcg", "map", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate({q: d for q, d in run.items() if d})
    per_query = {}
    for query_id in qrels:
        values = found.get(query_id, {})
        ours = {
            f"{name}@{k}": values.get(f"{theirs}_{k}", 0.0) for name, theirs in THEIR_NAMES.items() for k in CUTOFFS
        }
        reciprocal = values.get("recip_rank", 0.0)
        ours |= {f"mrr@{k}": reciprocal if reciprocal * k >= 1 - 1e-9 else 0.0 for k in CUTOFFS}
        per_query[query_id] = ours | {
            "ndcg": values.get("ndcg", 0.0),
            "map": values.get("map", 0.0),
            "mrr": reciprocal,
        }
    return per_query


def assert_equal(scores, theirs):
    assert list(scores.query_ids) == list(theirs)
    for name, values in scores.per_query.items():
        expected = np.array([theirs[query_id][name] for query_id in scores.query_ids])
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9, err_msg=name)
        assert scores.means[name] == pytest.approx(expected.mean(), abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(runs, judgements)
def test_a_run_scores_as_trec_eval_scores_it(run, qrels):
    assert_equal(evaluate(run, qrels, OUR_MEASURES), trec_eval(run, qrels))


@settings(max_examples=150, deadline=None)
@given(runs, judgements)
def test_hits_score_as_trec_eval_scores_the_run_file_we_write_of_them(tmp_path_factory, run, qrels):
    queries = sorted(run)
    hits = Hits.from_run(run, queries)
    path = tmp_path_factory.mktemp("run") / "run.trec"
    write_trec_run(path, hits, queries)
    with path.open(encoding="utf-8") as file:
        as_they_read_it = pytrec_eval.parse_run(file)

    assert_equal(evaluate(hits, qrels, OUR_MEASURES, queries=queries), trec_eval(as_they_read_it, qrels))
    assert read_trec_run(path) == as_they_read_it


def test_long_runs_of_many_queries_with_ties_score_as_trec_eval_scores_them():
    random = np.random.default_rng(7)
    queries = [f"q{number}" for number in range(60)]
    run = {
        query_id: {f"d{d}": float(random.integers(0, 40)) for d in random.choice(3000, random.integers(1, 1000), False)}
        for query_id in queries[:50]
    }
    qrels = {
        query_id: {f"d{d}": int(random.integers(-1, 5)) for d in random.choice(3000, random.integers(1, 300), False)}
        for query_id in queries[5:]
    }

    assert_equal(evaluate(run, qrels, OUR_MEASURES), trec_eval(run, qrels))
