from benchmarks.speed.sparse_engines import searching


def test_words_and_weights_are_searched_in_both_engines_with_the_same_hits():
    rows = searching([200], 5)
    assert [row["setting"].split(" of ")[0] for row in rows] == ["BM25", "term weights"]
    for row in rows:
        assert row["peer"] == "Lucene" and row["agreement"] > 0.9 and row["ratio"] == row["theirs_s"] / row["ours_s"]
