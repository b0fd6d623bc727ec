"""TREC run files: every reader sees our order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from indexing.errors import InputError
from indexing.hits import Hits
from indexing.runs import read_trec_run, strictly_decreasing, write_trec_run

finite = st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 0.1, 1 / 3])


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_a_line_is_query_q0_document_rank_score_tag(tmp_path):
    path = tmp_path / "run.trec"

    write_trec_run(path, {"q1": {"d1": 0.25, "d2": 7.5}, "q2": {"文書": -1}}, tag="bm25")

    assert lines_of(path) == ["q1 Q0 d2 1 7.5 bm25", "q1 Q0 d1 2 0.25 bm25", "q2 Q0 文書 1 -1.0 bm25"]


def test_hits_and_the_run_they_came_from_give_the_same_file(tmp_path):
    run = {"q1": {"a": 1.0, "b": 1.0, "c": 2.0}, "q2": {}, "q3": {"a": 0.5}}
    queries = ["q3", "q2", "q1"]

    write_trec_run(tmp_path / "hits.trec", Hits.from_run(run, queries), queries)
    write_trec_run(tmp_path / "run.trec", run, queries)

    assert lines_of(tmp_path / "hits.trec") == lines_of(tmp_path / "run.trec")
    assert [line.split()[0] for line in lines_of(tmp_path / "run.trec")] == ["q3", "q1", "q1", "q1"]


@given(st.dictionaries(st.sampled_from(["q1", "q2", "ü"]), st.dictionaries(st.text("abé", min_size=1), finite)))
def test_readers_that_break_ties_either_way_see_our_order(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    write_trec_run(path, run)

    back = read_trec_run(path)

    assert back.keys() == {query_id for query_id, answer in run.items() if answer}
    for query_id, answer in back.items():
        ours = sorted(run[query_id], key=lambda doc_id: (-run[query_id][doc_id], doc_id))
        as_float32 = {doc_id: np.float32(score) for doc_id, score in answer.items()}
        assert sorted(answer, key=lambda doc_id: (-as_float32[doc_id], doc_id)) == ours
        assert sorted(sorted(answer, reverse=True), key=lambda doc_id: -as_float32[doc_id]) == ours
        assert sorted(sorted(answer, reverse=True), key=lambda doc_id: -answer[doc_id]) == ours


@given(st.lists(arrays(np.float64, st.integers(0, 8), elements=finite), max_size=4))
def test_scores_are_lowered_to_the_next_float32_and_no_further(lists):
    lists = [np.sort(scores)[::-1] for scores in lists]
    offsets = np.cumsum([0, *map(len, lists)])

    lowered = strictly_decreasing(np.concatenate([np.zeros(0), *lists]), offsets)

    for scores, start, stop in zip(lists, offsets, offsets[1:], strict=False):
        above = np.float32(np.inf)
        for score, mine in zip(scores.astype(np.float32), lowered[start:stop], strict=True):
            assert mine == min(score, np.nextafter(above, np.float32(-np.inf)))
            above = mine


def test_scores_that_differ_in_float32_are_written_unchanged(tmp_path):
    scores = np.array([3.1415927, 0.1, 1e-30, -2.5e10], dtype=np.float32)
    run = {"q": {f"d{rank}": float(score) for rank, score in enumerate(scores)}}

    write_trec_run(tmp_path / "run.trec", run)

    assert [np.float32(score) for score in read_trec_run(tmp_path / "run.trec")["q"].values()] == scores.tolist()


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\u00a0", "\u2028"])
@pytest.mark.parametrize("what", ["doc_id", "query id", "tag"])
def test_white_space_would_shift_the_columns(tmp_path, space, what):
    names = {"doc_id": "d", "query id": "q", "tag": "t"} | {what: f"a{space}b"}

    with pytest.raises(InputError, match=f"the {what} 'a.*b' contains white space"):
        write_trec_run(tmp_path / "run.trec", {names["query id"]: {names["doc_id"]: 1.0}}, tag=names["tag"])
    assert not (tmp_path / "run.trec").exists()


def test_an_id_nobody_hit_may_hold_white_space(tmp_path):
    hits = Hits.from_run({"q": {"fine": 2.0, "not fine": 1.0}}, ["q"]).top(1)

    write_trec_run(tmp_path / "run.trec", hits, ["q"])

    assert read_trec_run(tmp_path / "run.trec") == {"q": {"fine": 2.0}}


@pytest.mark.parametrize("run", [{"": {"d": 1.0}}, {"q": {"": 1.0}}])
def test_an_empty_id_is_refused(tmp_path, run):
    with pytest.raises(InputError, match="is empty"):
        write_trec_run(tmp_path / "run.trec", run)


@pytest.mark.parametrize("score", [float("inf"), float("-inf"), 1e39])
def test_a_score_that_float32_cannot_hold_is_refused_with_its_document(tmp_path, score):
    with pytest.raises(InputError, match="document 'bad' for query 'q2' is not a finite float32"):
        write_trec_run(tmp_path / "run.trec", {"q1": {"d": 1.0}, "q2": {"d": 0.0, "bad": score}})


def test_hits_need_the_names_of_their_queries(tmp_path):
    with pytest.raises(InputError, match="needs the query ids"):
        write_trec_run(tmp_path / "run.trec", Hits.empty(2))
    with pytest.raises(InputError, match="1 query ids for the hits of 2 queries"):
        write_trec_run(tmp_path / "run.trec", Hits.empty(2), ["q"])


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.trec"
    write_trec_run(path, {"q": {"d": 1.0}})
    before = path.read_bytes()

    with pytest.raises(InputError):
        write_trec_run(path, {"q": {"d d": 1.0}})

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.trec"]


def test_the_folder_of_the_file_is_made(tmp_path):
    write_trec_run(tmp_path / "new" / "runs" / "bm25.trec", {"q": {"d": 1.0}})

    assert read_trec_run(tmp_path / "new" / "runs" / "bm25.trec") == {"q": {"d": 1.0}}


def test_a_run_of_nothing_is_an_empty_file(tmp_path):
    write_trec_run(tmp_path / "run.trec", Hits.empty(2), ["a", "b"])

    assert read_trec_run(tmp_path / "run.trec") == {}


def test_other_tools_runs_are_read_whatever_their_gaps_and_order(tmp_path):
    (tmp_path / "run.txt").write_text("q2\tQ0\td1\t1\t2.5\tx\n\nq1  Q0 d1 9 -1e-3 x\nq2 Q0 d2 2 2.5 x\n")

    assert read_trec_run(tmp_path / "run.txt") == {"q2": {"d1": 2.5, "d2": 2.5}, "q1": {"d1": -0.001}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d 1 0.5", "5 columns where a run has 6"),
        ("q Q0 d e 1 0.5 tag", "7 columns where a run has 6"),
        ("q Q0 d 1 high tag", "the score must be a finite number, not 'high'"),
        ("q Q0 d 1 nan tag", "the score must be a finite number, not 'nan'"),
        ("q0 Q0 d0 2 0.5 tag", "document 'd0' already occurs above for query 'q0'"),
    ],
)
def test_the_error_names_file_and_line(tmp_path, line, message):
    (tmp_path / "run.txt").write_text(f"q0 Q0 d0 1 1.0 tag\n\n{line}\n")

    with pytest.raises(InputError, match=rf"run\.txt, line 3: {message}"):
        read_trec_run(tmp_path / "run.txt")


def test_a_missing_run_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_trec_run(tmp_path / "run.txt")
