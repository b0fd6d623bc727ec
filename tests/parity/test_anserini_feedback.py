"""Feedback and query likelihood give the weights and scores of Anserini's own classes on the same index."""

import random

import numpy as np
import pytest

from indexing import Document
from indexing.indexes.lucene.analyzers import make_analyzer
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.jvm import java_calls, java_class
from retrieve.feedback import Bm25FeedbackRetriever, Rm3, Rocchio

TOPICS = ["vaccine immune herd measles outbreak", "bread oven yeast flour dough", "packet router network loss delay"]
QUERIES = ["measles vaccine", "bread in the oven", "network network delay", "herd router", "flour 42 x9 a"]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    draw = random.Random(0)
    filler = [f"word{number}" for number in range(200)]
    return [
        Document(
            f"d{number:03}",
            " ".join(draw.choices(TOPICS[number % 3].split(), k=draw.randrange(2, 9)) + draw.choices(filler, k=12))
            + (" über 42 x9 a" if number % 9 == 0 else ""),
        )
        for number in range(240)
    ]


@pytest.fixture(scope="module")
def index(tmp_path_factory, documents):
    with Bm25Index.create(tmp_path_factory.mktemp("ours") / "index") as index:
        index.upsert([document.doc_id for document in documents], documents)
        yield index


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, documents):
    """Return the folder of an index with term vectors, as Anserini's rerankers need them."""
    import jnius

    path = tmp_path_factory.mktemp("theirs") / "index"
    lucene, fields = "org.apache.lucene.", "org.apache.lucene.document."
    with java_calls(path):
        analyzer = make_analyzer("anserini-default-english")
        where = java_class(lucene + "store.FSDirectory").open(java_class("java.nio.file.Paths").get(str(path)))
        writer = java_class(lucene + "index.IndexWriter")(
            where, java_class(lucene + "index.IndexWriterConfig")(analyzer)
        )
        kind = java_class(fields + "FieldType")()
        kind.setIndexOptions(java_class(lucene + "index.IndexOptions").DOCS_AND_FREQS)
        kind.setStoreTermVectors(True)
        for document in documents:
            row = java_class(fields + "Document")()
            row.add(java_class(fields + "StringField")("id", document.doc_id, java_class(fields + "Field$Store").YES))
            value = java_class(lucene + "util.BytesRef")(document.doc_id.encode())
            row.add(java_class(fields + "BinaryDocValuesField")("id", value))
            text = jnius.cast("java.lang.CharSequence", java_class("java.lang.String")(document.contents))
            row.add(java_class(fields + "Field")("contents", text, kind))
            writer.addDocument(row)
        writer.forceMerge(1)
        writer.close()
    return path


def their_run(path, queries, prepare, k=50):
    with java_calls(path):
        searcher = java_class("io.anserini.search.SimpleSearcher")(str(path))
        searcher.set_bm25(0.9, 0.4)
        prepare(searcher)
        return [{hit.docid: hit.score for hit in searcher.search(query, k)} for query in queries]


def check_run(ours, theirs):
    for ranking, expected in zip(ours, theirs, strict=True):
        assert dict(zip(ranking.doc_ids, ranking.scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("feedback", "prepare"),
    [
        (Rm3(), lambda searcher: searcher.set_rm3()),
        (Rm3(5, 4, 0.8), lambda searcher: searcher.set_rm3(5, 4, 0.8)),
        (Rocchio(), lambda searcher: searcher.set_rocchio()),
        (
            Rocchio(6, 3, 0.7, 0.9),
            lambda searcher: searcher.set_rocchio("", 6, 3, 10, 10, 0.7, 0.9, 0.15, False, False),
        ),
    ],
    ids=["rm3", "rm3 5 4 .8", "rocchio", "rocchio 6 3 .7 .9"],
)
def test_feedback_scores_as_anserinis_rerankers(index, theirs, documents, feedback, prepare):
    texts = {document.doc_id: document.contents for document in documents}
    retriever = Bm25FeedbackRetriever(index, lambda ids: [texts[doc_id] for doc_id in ids], feedback)
    # Anserini takes the first hits of as many as are asked for.
    check_run(retriever.search(QUERIES, 50), their_run(theirs, QUERIES, prepare))


def test_query_likelihood_scores_as_lucenes_in_anserini(tmp_path, theirs, documents):
    with Bm25Index.create(tmp_path / "qld", similarity="lm-dirichlet", mu=500) as index:
        index.upsert([document.doc_id for document in documents], documents)
        check_run(index.search(QUERIES, 50), their_run(theirs, QUERIES, lambda searcher: searcher.set_qld(500.0)))


def test_jelinek_mercer_scores_as_its_formula(tmp_path, documents):
    with Bm25Index.create(tmp_path / "qljm", similarity="lm-jelinek-mercer", smoothing=0.1) as index:
        index.upsert([document.doc_id for document in documents], documents)
        hits = index.search(["measles"], 5)[0]
        words = index.words()
        counts = words.counts(["measl"])["measl"]
        for doc_id, score in zip(hits.doc_ids, hits.scores.tolist(), strict=True):
            terms = words.analyzed([next(d.contents for d in documents if d.doc_id == doc_id)])[0]
            collection = (counts.occurrences + 1) / (words.totals["words"] + 1)
            expected = np.log(1 + 0.9 * terms.count("measl") / len(terms) / (0.1 * collection))
            assert score == pytest.approx(expected, rel=0.02)


def test_statistics_are_anserinis(index, documents):
    words = index.words()
    with java_calls(index.path), index.snapshot() as search:
        utilities = java_class("io.anserini.index.IndexReaderUtils")
        import jnius

        reader = jnius.cast("org.apache.lucene.index.IndexReader", search.reader)
        expected = {word: utilities.getTermCounts(reader, word) for word in ("measles", "word7")}
        expected = {word: (counts.get("docFreq"), counts.get("collectionFreq")) for word, counts in expected.items()}
    assert {
        word: tuple(words.counts([form])[form]) for word, form in (("measles", "measl"), ("word7", "word7"))
    } == expected
    assert words.totals["documents"] == len(documents)
    assert words.most_frequent(3) == sorted(words.most_frequent(10_000), key=lambda e: (-e[1].documents, e[0]))[:3]
