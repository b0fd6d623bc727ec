"""BM25 that Qdrant analyses and scores itself, against its formula, in Edge and in the client's local mode."""

import math
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from qdrant_client import models

from indexing.documents import Document
from indexing.errors import InputError, SetupError, StorageError
from indexing.hits import Hits
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.qdrant.settings import QdrantServer, QdrantSettings
from indexing.indexes.qdrant.text_index import LANGUAGES, EngineText, Text
from indexing.indexes.qdrant.text_query import QdrantTextIndex
from indexing.indexes.registry import kind_of
from indexing.query_syntax import parse_query

TEXTS = {f"d{n}": " ".join(f"w{(n * k) % 13}" for k in range(1, 2 + (n * 7) % 19)) for n in range(60)}
QUERIES = ["w1 w2 w2", "w12", "W3, w4!", "w5 w6 w7 nothing"]


@pytest.fixture(params=["edge", "local"])
def index(request, tmp_path):
    with QdrantTextIndex.create_of_texts(tmp_path / "index", engine=request.param) as made:
        yield made


@pytest.fixture
def english(tmp_path):
    with QdrantTextIndex.create_of_texts(tmp_path / "index", analyzer="qdrant-en") as made:
        texts = ["The running cats run", "a cat and a dog", "houses of dogs", "the", ""]
        made.upsert(["a", "b", "c", "d", "e"], texts)
        yield made


def by_formula(texts: dict[str, str], query: str, k1: float = 0.9, b: float = 0.4) -> dict[str, float]:
    """Return BM25 over runs of letters and digits; a document without words does not count."""
    words = {doc_id: found for doc_id, text in texts.items() if (found := re.findall(r"[^\W_]+", text.lower()))}
    mean = sum(map(len, words.values())) / len(words)
    scores: dict[str, float] = {}
    for word in set(re.findall(r"[^\W_]+", query.lower())):
        frequency = sum(word in found for found in words.values())
        idf = math.log(1 + (len(words) - frequency + 0.5) / (frequency + 0.5))
        for doc_id, found in words.items():
            if count := found.count(word):
                part = idf * count / (count + k1 * (1 - b + b * len(found) / mean))
                scores[doc_id] = scores.get(doc_id, 0.0) + part
    return scores


def assert_scored(index, texts):
    for query in QUERIES:
        (found,) = index.search([query], 100)
        assert dict(zip(found.doc_ids, found.scores, strict=True)) == pytest.approx(
            by_formula(texts, query, index.settings.text.k1, index.settings.text.b), rel=1e-5
        )


def test_scores_are_those_of_the_present_documents_without_optimize(index):
    texts = dict(TEXTS)
    index.upsert(list(texts), list(texts.values()))
    assert_scored(index, texts)
    changed = {f"d{n}": f"w1 w12 w{n}" for n in range(20)} | {"new": "w2", "empty": "", "marks": "... !"}
    texts |= changed
    index.upsert(list(changed), list(changed.values()))
    assert index.delete(["d40", "d41", "unknown"]) == 2
    texts = {doc_id: text for doc_id, text in texts.items() if doc_id not in ("d40", "d41")}
    assert_scored(index, texts)
    index.optimize()
    assert_scored(index, texts)
    assert kind_of("qdrant").notes(index.path) == []


def test_k1_and_b_are_chosen(tmp_path):
    with QdrantTextIndex.create_of_texts(tmp_path / "index", k1=1.5, b=0.75) as index:
        index.upsert(list(TEXTS), list(TEXTS.values()))
        assert_scored(index, TEXTS)
    with QdrantTextIndex.open(tmp_path / "index", read_only=True) as index:
        assert_scored(index, TEXTS)
    with pytest.raises(InputError, match="b must be a number from 0 to 1"):
        QdrantTextIndex.create_of_texts(tmp_path / "other", b=2)


def test_a_query_without_words_finds_nothing(index):
    index.upsert(["a", "b"], ["one two", "..."])
    assert [len(ranking) for ranking in index.search(["", " ", "...", "\x00", "one"], 5)] == [0, 0, 0, 0, 1]
    assert index.score(["", "one"], [["a"], ["b", "a"]]).tolist() == pytest.approx(
        [0, 0, index.search(["one"], 1).scores[0]]
    )


def test_titles_count_and_half_a_surrogate_pair_is_replaced(index):
    index.upsert(["a", "b"], [Document("a", "text", "Müller Straße"), "x\ud800y 😀 日本語"])
    assert index.search(["müller \ud800"], 5)[0].doc_ids == ["a"]
    assert index.search(["日本語"], 5)[0].doc_ids == ["b"]


def test_parts_of_words_add_up_to_the_score(english):
    query = "dogs, running RUNS the cat?"
    hits = english.search([query, "", "cats"], 5)
    terms = english.matched_terms([query, "", "cats"], hits)
    assert [word for word, _ in terms[0]] == ["running", "cat"]  # "RUNS" is the same word, and "the" a stopword
    for of_hit, score in zip(terms, hits.scores, strict=True):
        assert sum(part for _, part in of_hit) == pytest.approx(score, rel=1e-5)
    assert english.matched_terms([""], Hits.empty(1)) == []


def test_stems_and_stopwords_are_those_of_the_language(english, tmp_path):
    assert english.search(["run"], 5)[0].doc_ids == ["a"]
    assert english.search(["the"], 5)[0].doc_ids == []
    with QdrantTextIndex.create_of_texts(tmp_path / "german", analyzer="qdrant-de") as german:
        german.upsert(["a"], ["die Häuser, the cats"])
        found = [len(ranking) for ranking in german.search(["Haus", "die", "the", "hous"], 5)]
        assert found == [1, 0, 1, 0]


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_can_be_indexed(code, tmp_path):
    with QdrantTextIndex.create_of_texts(tmp_path / "index", analyzer=f"qdrant-{code}") as index:
        index.upsert(["a"], ["2026 Qdrant"])
        assert index.search(["qdrant"], 5)[0].doc_ids == ["a"]


def test_local_mode_has_no_languages(tmp_path):
    with pytest.raises(
        StorageError, match="no stopwords and stems, which 'qdrant-en' needs: choose the analyzer 'qdrant'"
    ):
        QdrantTextIndex.create_of_texts(tmp_path / "index", analyzer="qdrant-en", engine="local")


def test_a_client_before_1_20_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.delattr(models, "TextQuery")
    with pytest.raises(SetupError, match=r"from version 1.20: pip install -U qdrant-client"):
        QdrantTextIndex.create_of_texts(tmp_path / "index", engine="local")


def test_what_it_cannot_do_is_refused_in_one_line(english, tmp_path):
    with pytest.raises(InputError, match="has operators, which BM25 in Qdrant cannot search"):
        english.search([parse_query("+cat -dog")], 5)
    with pytest.raises(InputError, match="unknown analyzer 'qdrant-xx' of Qdrant: choose one of qdrant, qdrant-ar"):
        QdrantTextIndex.create_of_texts(tmp_path / "other", analyzer="qdrant-xx")
    with pytest.raises(InputError, match="'qdrant-en'; Qdrant's own are for legs in Qdrant: choose"):
        Bm25Index.create(tmp_path / "lucene", analyzer="qdrant-en")
    with pytest.raises(InputError, match="texts that Qdrant scores, no vectors"):
        english.vectors(["a"])
    with pytest.raises(InputError, match="have no vectors"):
        QdrantSettings(4, text=EngineText())
    with pytest.raises(InputError, match="1 id for 2 texts"):
        english.upsert(["a"], ["one", "two"])


def test_other_legs_are_written_as_earlier_versions_read_them(tmp_path):
    from indexing.indexes.qdrant.index import QdrantIndex

    with QdrantIndex.create(tmp_path / "index", 4):
        pass
    assert '"text"' not in (tmp_path / "index" / "settings.json").read_text()


class Old(BaseHTTPRequestHandler):
    """A server of version 1.19."""

    def do_GET(self):
        body = b'{"title": "qdrant", "version": "1.19.2"}' if self.path == "/" else b'{"result": {"exists": false}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_server_before_1_20_is_refused_in_one_line(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Old)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = QdrantServer(f"http://127.0.0.1:{server.server_port}", "docs")
        with pytest.raises(
            StorageError, match=r"the server has version 1.19.2, and scores texts \(TextQuery\) from 1.20"
        ):
            QdrantTextIndex.create_of_texts(tmp_path / "index", server=address)
    finally:
        server.shutdown()
        server.server_close()


def test_texts_are_sent_in_requests_of_bounded_size():
    from indexing.indexes.qdrant.engine import PointBatch

    batch = PointBatch([f"d{n}" for n in range(10)], {"text": [Text("x" * 2_000_000)] * 10}, [{}] * 10)
    assert [len(part) for part in batch.parts(256)] == [2] * 5
    assert len(list(batch.parts(1))) == 10
