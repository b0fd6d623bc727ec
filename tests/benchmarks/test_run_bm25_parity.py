from types import SimpleNamespace

from benchmarks.run_bm25_parity import compare, compare_text_queries
from indexing.documents import Document


def test_the_scores_of_both_are_compared_in_each_state():
    documents = [
        Document(f"d{n}", f"word{n % 7} and more words {'again ' * (n % 5)}", f"Title {n}") for n in range(100)
    ]
    rows = compare("made", documents, ["word3 again", "title words"], "edge")
    assert [row["state"].split(" ")[0] for row in rows] == ["built", "changed", "optimised"]
    for row in (rows[0], rows[2]):
        assert float(row["largest difference"]) < 1e-3 and row["queries with another top 10"] == 0
        assert row["drift"] == "none"
    assert "mean length" in rows[1]["drift"]


def test_texts_that_qdrant_scores_are_compared_by_what_they_find():
    documents = [Document(f"d{n}", f"word{n} and more", f"Title {n}") for n in range(40)]
    dataset = SimpleNamespace(queries={"q": "word7", "r": "word8 titles"}, qrels={"q": {"d7": 1}, "r": {"d8": 1}})
    row = compare_text_queries("made", documents, dataset, "qdrant-en", "edge")
    assert row["Qdrant: nDCG@10"] == row["Lucene: nDCG@10"] == 1 and row["overlap@10"] > 0.5
