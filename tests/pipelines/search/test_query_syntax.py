"""The query syntax `simple` through pipelines: every kind of leg, filters, batches, caches, the command line."""

import json
import random
from functools import partial

import pytest

from every_leg import TERMS, VECTORS, build_every_leg
from indexing.collection.manifest import Leg
from indexing.documents import Document
from indexing.errors import InputError
from indexing.query_syntax import parse_query
from pipelines import SearchPipeline
from pipelines.build.job import Plan, build_legs
from pipelines.cli import main
from pipelines.search import Refine, SearchConfig
from pipelines.search.highlight import highlight
from retrieve import restriction

COLORS, TOPICS = ["red", "green", "blue", "white"], ["bread", "packet", "matrix", "list", "light"]
SUM = {"method": "comb-sum", "normalizer": "none"}
QUERY = '"red bread" light -packet +(red green)'
WORDS = "red bread light red green"


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return [
        Document(
            f"d{number:02}",
            f"A {COLORS[number % 4]} {TOPICS[number % 5]} lies beside number {number}"
            + (f" and a {TOPICS[number % 3]}." if number % 7 else "."),
            f"Thing {number % 3}",
            {"group": number % 6},
        )
        for number in range(60)
    ]


def keeps(document: Document) -> bool:
    words = document.contents.replace(".", " ").split()
    return "packet" not in words and bool({"red", "green"} & set(words))


@pytest.fixture(scope="module")
def collection(tmp_path_factory, documents, tiny_dense, tiny_splade):
    path = tmp_path_factory.mktemp("syntax") / "collection"
    return build_every_leg(documents, path, tiny_dense, tiny_splade, {"group": "number"}, positions=True)


@pytest.fixture(scope="module")
def opened(collection, tiny_dense, tiny_splade):
    return partial(SearchPipeline.open, collection, dense=tiny_dense, sparse=tiny_splade)


def scores(results) -> dict[str, float]:
    return {result.doc_id: result.score for result in results}


@pytest.mark.parametrize("few", [1000, 0], ids=["scored one by one", "searched deeper"])
@pytest.mark.parametrize("leg", [*VECTORS, *TERMS])
def test_a_leg_without_words_keeps_requirements_and_exclusions(opened, documents, monkeypatch, leg, few):
    """Its hits are those of the words alone that remain after checking each document."""
    monkeypatch.setattr(restriction, "FEW", few)
    kept = {document.doc_id for document in documents if keeps(document)}
    with opened(legs=[leg]) as pipeline:
        whole = scores(pipeline.search(WORDS, k=60))
        right = {doc_id: score for doc_id, score in whole.items() if doc_id in kept}
        assert scores(pipeline.search(QUERY, k=60, query_syntax="simple")) == pytest.approx(right, rel=1e-5, abs=1e-6)
        few_hits = pipeline.search(QUERY, k=3, query_syntax="simple")
        assert [hit.score for hit in few_hits] == pytest.approx(list(right.values())[:3], rel=1e-5, abs=1e-6)
        group = {document.doc_id for document in documents if document.metadata["group"] < 3}
        filtered = scores(pipeline.search(QUERY, k=60, query_syntax="simple", filter={"group": {"lt": 3}}))
        assert filtered == pytest.approx({d: s for d, s in right.items() if d in group}, rel=1e-5, abs=1e-6)


def test_all_legs_together_keep_them(opened, documents):
    with opened(fusion=SUM, depth=60) as pipeline:
        found = pipeline.search(QUERY, k=60, query_syntax="simple", explain=True)
        plain = pipeline.search(WORDS, k=60)
    assert set(scores(found)) == {document.doc_id for document in documents if keeps(document)}
    assert len(plain) == 60
    assert found.notes[0].startswith(f"the query was read as: {QUERY}; encoders and reranker read: {WORDS}")
    assert found.notes[1] == f"documents that + and - keep, on every leg: {len(found)}"
    terms = {hit.doc_id: dict(hit.explanation.legs["words"].terms) for hit in found}
    assert [doc_id for doc_id in sorted(terms) if '"red bread"' in terms[doc_id]] == ["d00", "d20"]


def test_in_plain_words_no_character_is_an_operator(opened):
    with opened(legs=["words"]) as pipeline:
        assert scores(pipeline.search("red -packet")) == scores(pipeline.search("red packet"))
        for text in ('"', "+", "(((", '"red', "a:b^2~*", "\\", "-", "\x01red", "red \ud800", "AND OR NOT", "[a TO b]"):
            pipeline.search(text)


@pytest.mark.parametrize("number", [40, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_string_is_answered_by_every_leg_or_refused_in_one_line(opened, number):
    """In plain words always; in the syntax with hits, or one clear line."""
    draw = random.Random(number)
    pieces = [*'+-"()~*^:\\<>/[]{} ', "AND", "~2", "^3", "red", "bread", "packet", "\x00", "é", "日本"]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(1, 20))) for _ in range(number)]
    texts = [text for text in texts if text.strip(" \x00")]  # others are refused as empty
    with opened(fusion=SUM, depth=5) as pipeline:
        assert len(pipeline.retrieve(texts, 3)) == len(texts)
        readable = []
        for text in texts:
            try:
                parse_query(text)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                readable.append(text)
        assert len(readable) > number // 2
        for start in range(0, len(readable), 50):
            block = readable[start : start + 50]
            assert len(pipeline.retrieve(block, 3, query_syntax="simple")) == len(block)


def test_a_query_without_operators_is_the_same_in_both_syntaxes(opened):
    with opened(fusion=SUM) as pipeline:
        assert scores(pipeline.search("red bread", query_syntax="simple")) == scores(pipeline.search("red bread"))


def test_batches_variants_and_retrieve_read_the_syntax(opened):
    with opened(legs=["words", "flat"]) as pipeline:
        one = pipeline.search(QUERY, k=5, query_syntax="simple")
        batch = pipeline.batch_search({"a": QUERY, "b": "blue"}, k=5, query_syntax="simple")
        assert scores(batch["a"]) == pytest.approx(scores(one))
        assert pipeline.retrieve([QUERY, "blue"], 5, query_syntax="simple")[0].doc_ids == [hit.doc_id for hit in one]
        variants = pipeline.multi_search([QUERY, "bread -packet"], k=10, query_syntax="simple", explain=True)
        assert variants
        assert all("packet" not in hit.text for hit in variants)


def test_an_answer_is_cached_for_its_syntax_only(opened):
    with opened(legs=["words"], cache=10) as pipeline:
        plain = pipeline.search("red -packet", k=60)
        simple = pipeline.search("red -packet", k=60, query_syntax="simple")
        again = pipeline.search("red -packet", k=60, query_syntax="simple")
    assert len(simple) < len(plain)
    assert again.cached and scores(again) == scores(simple)


def test_the_syntax_may_be_configured(opened, tmp_path):
    config = SearchConfig.load({"query_syntax": "simple", "legs": ["words"]})
    config.save(tmp_path / "search.yaml")
    with opened(config=tmp_path / "search.yaml") as pipeline:
        assert all("packet" not in hit.text for hit in pipeline.search("red -packet", k=60))
        assert any("packet" in hit.text for hit in pipeline.search("red -packet", k=60, query_syntax="plain"))
    with pytest.raises(InputError, match="query_syntax"):
        SearchConfig.load({"query_syntax": "lucene"})
    with (
        opened() as pipeline,
        pytest.raises(InputError, match="query_syntax must be 'plain' or 'simple', not 'lucene'"),
    ):
        pipeline.search("red", query_syntax="lucene")


def test_refinements_follow(opened):
    with opened(legs=["words", "flat"]) as pipeline:
        grouped = pipeline.search(QUERY, query_syntax="simple", refine=Refine(group_by="group", mmr=0.5))
    assert grouped
    assert all("packet" not in hit.text for hit in grouped)


def test_highlights_leave_out_what_is_excluded(opened):
    with opened(legs=["words"]) as pipeline:
        (marked,) = highlight(pipeline, "red -packet", ["a red packet"], query_syntax="simple")
        (plain,) = highlight(pipeline, "red -packet", ["a red packet"])
    assert marked.marked() == "a **red** packet"
    assert plain.marked() == "a **red** **packet**"


def test_without_a_leg_of_words_requirements_are_refused_and_the_rest_is_read(tmp_path, documents, tiny_dense):
    leg = Leg("faiss", tiny_dense.identity, {"dimension": tiny_dense.dimension, "metric": "cosine", "kind": "flat"})
    build_legs(documents, tmp_path / "c", Plan({"dense": leg}, {"dense": tiny_dense}, {}, {}), show_progress=False)
    with SearchPipeline.open(tmp_path / "c", dense=tiny_dense) as pipeline:
        assert len(pipeline.search('"red bread"^2', query_syntax="simple")) == 10
        with pytest.raises(InputError, match="has no BM25 leg to look them up in"):
            pipeline.search("red -packet", query_syntax="simple")


def test_the_command_line_builds_positions_and_searches_phrases(tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    texts = {"a": "herd immunity by vaccine", "b": "immunity of a herd", "c": "measles and herd immunity"}
    corpus.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()))
    target = str(tmp_path / "c")
    search = ["search", target, '"herd immunity" -measles', "--query-syntax", "simple", "--json"]
    assert main(["index", str(corpus), "--to", target, "--no-dense"]) == 0
    capsys.readouterr()
    assert main(search) == 1
    assert "retrieve reindex DIR --leg bm25 --bm25-positions" in capsys.readouterr().err
    assert main(["reindex", target, "--leg", "bm25", "--bm25-positions", "--quiet"]) == 0
    capsys.readouterr()
    assert main(search) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [hit["doc_id"] for hit in answer["hits"]] == ["a"]
    assert answer["hits"][0]["highlights"] == [[0, 4], [5, 13]]
