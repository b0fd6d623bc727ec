import numpy as np
import pytest

from benchmarks.run_speed import parser
from benchmarks.speed import sparse_engines
from benchmarks.speed.impact_growth import OURS, exact_best, recall, searched
from benchmarks.speed.sparse_engines import searching, weights
from indexing.errors import InputError


def test_words_and_weights_are_searched_in_both_engines_with_the_same_hits():
    rows = searching([200], 5)
    assert [row["setting"].split(" of ")[0] for row in rows] == ["BM25", "BM25", "term weights"]
    assert "that Qdrant scores itself" in rows[1]["setting"]
    for row in rows:
        assert row["peer"] == "Lucene" and row["agreement"] > 0.9 and row["ratio"] == row["theirs_s"] / row["ours_s"]


def test_a_build_that_runs_out_of_time_is_continued(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sparse_engines, "BATCH", 50)
    search = ["search", "--sizes", "120", "--queries", "3", "--legs", "text-query", "--folder", str(tmp_path)]
    options = parser().parse_args([*search, "--minutes", "0"])
    with pytest.raises(InputError, match="Bm25Index-120-lucene holds 0 of 120 documents; the same command goes on"):
        options.run(options)
    builds = []
    for _ in range(2):
        options = parser().parse_args(search)
        (row,) = options.run(options)
        assert row["agreement"] > 0.9 and "MB (Edge, Lucene)" in row["detail"]
        builds.append(row["detail"].split("build ")[1].split(";")[0])
    assert builds[0] == builds[1]  # the second run measures the same indexes
    assert "text-query-120-edge: 120 of 120 documents" in capsys.readouterr().err
    options = parser().parse_args(["search", "--folder", "x"])
    with pytest.raises(InputError, match="--folder requires --legs"):
        options.run(options)
    options = parser().parse_args(["search", "--sizes", "120", "--queries", "3", "--legs", "words"])
    with pytest.raises(InputError, match="--legs takes bm25, text-query, weights, not 'words'"):
        options.run(options)


@pytest.mark.parametrize(("name", "least"), [("impact", 0.9), ("postings", 0.999)])
def test_each_index_of_weights_finds_the_best_documents(name, least):
    documents, queries = next(weights(300, 40, 0)), next(weights(6, 10, 1))
    found, _, size = searched(OURS[name], documents, {10: queries})
    seconds, hits = found[10]
    assert seconds > 0 and size > 0
    assert recall(hits, exact_best(documents, queries)) > least
    assert recall(hits, [set(range(300, 310))] * 6) == 0.0
    best = (queries @ documents.T).toarray().argmax(axis=1)
    assert np.mean([best[row] in hits[row] for row in range(6)]) == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sizes", "many"], "--sizes takes comma-separated numbers of at least 100, not 'many'"),
        (["--sizes", "200", "--terms", "0"], "--terms takes comma-separated numbers of at least 1, not '0'"),
        (["--sizes", "200", "--peers", "nowhere"], "nowhere has no bin/python"),
    ],
)
def test_wrong_options_of_the_growth_of_impacts_are_refused(arguments, says):
    options = parser().parse_args(["impact", *arguments])
    with pytest.raises(InputError, match=says):
        options.run(options)
