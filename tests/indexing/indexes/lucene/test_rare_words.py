"""Which hits of BM25 hold the rare words that decide their query."""

import numpy as np
import pytest

from indexing.documents import Document
from indexing.hits import Hits
from indexing.indexes.lucene.bm25 import Bm25Index
from lucene_documents import upsert_documents

WORDS = ["river", "stone", "bridge", "market", "winter", "garden", "letter", "window", "candle", "harbour"]


def texts(count: int) -> list[Document]:
    """Return documents of common words: each word is in about a third of them."""
    rng = np.random.default_rng(0)
    return [Document(f"d{at}", " ".join(rng.choice(WORDS, 4))) for at in range(count)]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with Bm25Index.create(tmp_path_factory.mktemp("rare") / "bm25", fields={"year": "number"}) as made:
        upsert_documents(made, texts(400))
        upsert_documents(
            made,
            [
                Document("part", "The valve PT-100.5 is at the river", "", {"year": 1999}),
                Document("one", "Zbrozek crossed the bridge", "", {"year": 1999}),
                Document("two", "Mr Kowalnik at the market", "", {"year": 1999}),
                Document("three", "letters to Kowalnik", "", {"year": 2005}),
                *(Document(f"s{at}", f"a lantern by the harbour in {at}") for at in range(12)),
            ],
        )
        yield made


def marked(index: Bm25Index, query: str, **options: object) -> list[str]:
    hits = index.search([query], 20, **options)
    return hits.ids[hits.codes[index.rare_hits([query], hits)]].tolist()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PT-100.5", ["part"]),
        ("where is the valve PT-100.5?", ["part"]),
        ("pt-100.5 (river)", ["part"]),
        ("Zbrozek", ["one"]),
        ("who is Zbrozek", ["one"]),
        ("Kowalnik", ["three", "two"]),
        ("kowalnik market", ["two", "three"]),
        ("winter garden", []),
        ("lantern", []),
        ("Zbrozek with a lantern on the stone bridge by the river, a winter market and a letter", []),
        ("the", []),
        ("", []),
        ("Wyrwas", []),
    ],
)
def test_only_words_of_few_documents_that_the_query_is_about_decide_it(index, query, found):
    assert marked(index, query) == found


def test_a_batch_is_its_queries_one_by_one(index):
    queries = ["PT-100.5", "", "winter garden", "Kowalnik", "the", "Zbrozek bridge"]
    hits = index.search(queries, 20)
    marks = index.rare_hits(queries, hits)
    for row, query in enumerate(queries):
        chosen = marks & (hits.rows == row)
        assert hits.ids[hits.codes[chosen]].tolist() == marked(index, query)


def test_a_document_that_a_filter_removes_decides_nothing(index):
    assert marked(index, "Kowalnik", filter={"year": 1999}) == ["two"]
    assert marked(index, "Zbrozek bridge", filter={"year": 2005}) == []


def test_replaced_and_deleted_documents_do_not_count(tmp_path):
    with Bm25Index.create(tmp_path / "bm25") as index:
        upsert_documents(index, texts(400))
        for version in range(8):
            upsert_documents(index, [Document("code", f"E4711 appears in the garden, version {version}")])
            upsert_documents(index, [Document(f"gone{version}", "E4711 candle")])
            index.delete([f"gone{version}"])
        assert marked(index, "E4711 in the garden") == ["code"]


def test_titles_count_in_an_index_of_two_fields(tmp_path):
    with Bm25Index.create(tmp_path / "bm25", weights={"title": 2.0, "text": 1.0}) as index:
        upsert_documents(index, [*texts(400), Document("right", "about a river", "Zbrozek")])
        assert marked(index, "Zbrozek") == ["right"]
        assert marked(index, "river garden") == []


def test_in_a_small_collection_no_word_is_rare(tmp_path):
    with Bm25Index.create(tmp_path / "bm25") as index:
        upsert_documents(index, [*texts(30), Document("one", "Zbrozek")])
        assert marked(index, "Zbrozek") == []


def test_no_hits_have_no_marks(index):
    assert index.rare_hits([], Hits.empty(0)).tolist() == []
    assert index.rare_hits(["Zbrozek", ""], Hits.empty(2)).tolist() == []
