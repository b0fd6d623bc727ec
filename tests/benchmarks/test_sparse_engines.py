import numpy as np
import pytest

from benchmarks.run_speed import parser
from benchmarks.speed.impact_growth import exact_best, recall, searched
from benchmarks.speed.sparse_engines import searching, weights
from indexing.errors import InputError


def test_words_and_weights_are_searched_in_both_engines_with_the_same_hits():
    rows = searching([200], 5)
    assert [row["setting"].split(" of ")[0] for row in rows] == ["BM25", "term weights"]
    for row in rows:
        assert row["peer"] == "Lucene" and row["agreement"] > 0.9 and row["ratio"] == row["theirs_s"] / row["ours_s"]


def test_lucene_finds_the_best_documents_by_their_exact_weights():
    documents, queries = next(weights(300, 40, 0)), next(weights(6, 10, 1))
    found, _, size = searched(documents, {10: queries})
    seconds, hits = found[10]
    assert seconds > 0 and size > 0
    assert recall(hits, exact_best(documents, queries)) > 0.9
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
