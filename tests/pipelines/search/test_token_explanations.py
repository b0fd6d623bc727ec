"""Explanations of late interaction: which token of the query met which token of a document, with its part."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from crash import cheap
from late_interaction import write_colbert

from indexing.documents import Document
from pipelines.build.job import build_collection, build_legs
from pipelines.cli import main
from pipelines.search import SearchPipeline
from pipelines.search.highlight import token_highlight
from retrieve import DenseEncoder, LateInteractionReranker, MultiVectorEncoder
from retrieve.encoders.dense_tokens import DenseTokens
from retrieve.encoders.scored_tokens import scored_tokens

DOCUMENTS = [
    Document("d1", "Heat, light and a wave of energy.", "Water"),
    Document("d2", "  the price of a stock  "),
    Document("d3", "fire " * 40, "Long"),
    Document("d4", "naïve café 日本語 water"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colbert(tmp_path_factory.mktemp("model") / "colbert", skiplist=[",", "."], document_length=30)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> MultiVectorEncoder:
    return MultiVectorEncoder(folder, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, encoder: MultiVectorEncoder) -> Path:
    path = tmp_path_factory.mktemp("collections") / "c"
    build_collection(DOCUMENTS, path, multi_vector=encoder, show_progress=False)
    return path


def test_there_is_a_token_for_each_vector(encoder: MultiVectorEncoder) -> None:
    texts = ["", "Water, heat.", "naïve café 日本語 water!", "fire " * 50]
    for task, encode in (("query", encoder.encode_query), ("document", encoder.encode_document)):
        for text in texts:
            tokens = scored_tokens(encoder, text, task)
            assert tokens is not None and len(tokens) == len(encode([text]).text(0)), (task, text)
            assert all(text[slice(*token.span)] == token.text for token in tokens if token.span is not None)
    assert [token.text for token in scored_tokens(encoder, "Water, heat.", "document") or ()][1:-1] == ["Water", "heat"]


class OwnEncoder:
    """An encoder of one's own, with nothing but the interface."""

    def __init__(self, encoder: MultiVectorEncoder) -> None:
        self.identity, self.dimension = encoder.identity, encoder.dimension
        self.encode_query, self.encode_document = encoder.encode_query, encoder.encode_document


def test_an_encoder_of_ones_own_is_explained_without_the_names_of_tokens(
    collection: Path, encoder: MultiVectorEncoder
) -> None:
    with SearchPipeline.open(collection, legs=["tokens"], multi_vector=OwnEncoder(encoder)) as pipeline:
        hit = pipeline.search("water wave", k=1, explain=True)[0]
    assert hit.explanation is not None
    tokens = hit.explanation.legs["tokens"].tokens
    assert tokens and sum(token.part for token in tokens) == pytest.approx(hit.score, abs=1e-4)
    assert {token.token for token in tokens} == {""}


@pytest.fixture(scope="module")
def every_sort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of every kind of leg, whose token vectors are read from the shards."""
    path = tmp_path_factory.mktemp("every") / "c"
    legs = cheap.plan(edge=True)
    build_legs(cheap.documents(40, 0, 1), path, replace(legs, fields={"version": "number"}), show_progress=False)
    return path


@pytest.mark.parametrize("reranker", [None, "late-interaction"])
@pytest.mark.parametrize("legs", [["tokens"], ["edge"], ["bm25", "dense"], None])
def test_a_search_that_finds_nothing_is_explained(every_sort: Path, legs: list, reranker: str) -> None:
    encoders = {"dense": cheap.CheapVectors(), "sparse": cheap.CheapWeights(), "multi_vector": cheap.CheapTokens()}
    with SearchPipeline.open(every_sort, legs=legs, reranker=reranker, **encoders) as pipeline:
        asked = {"explain": True, "filter": {"version": 99}}
        assert pipeline.search("w0001 w0002", **asked) == []
        assert list(pipeline.batch_search({"a": "w0001", "b": "w0003"}, **asked).values()) == [[], []]
        assert pipeline.multi_search(["w0001", "w0002"], **asked) == []


@pytest.mark.parametrize("legs", [["tokens"], ["bm25", "tokens"]])
def test_parts_of_all_tokens_sum_to_the_legs_score(collection: Path, encoder: MultiVectorEncoder, legs: list) -> None:
    with SearchPipeline.open(collection, legs=legs, multi_vector=encoder) as pipeline:
        found = pipeline.search("water wave", k=4, explain=True)
        variants = pipeline.multi_search(["water wave", "the price"], k=4, explain=True)
    assert found and variants
    asked = scored_tokens(encoder, "water wave", "query")
    for hit in found:
        leg = hit.explanation.legs["tokens"]
        assert sum(match.part for match in leg.tokens) == pytest.approx(leg.score, abs=1e-4)
        assert [match.token for match in leg.tokens] == [token.text for token in asked]
        contents = f"{hit.title} {hit.text}".strip()
        assert all(contents[slice(*match.span)] == match.matched for match in leg.tokens if match.span)
        marked = token_highlight(hit)
        assert all(hit.text[start:end].strip() for start, end in marked.spans)
        plain = hit.as_dict()["explanation"]["legs"]["tokens"]["tokens"]
        assert json.loads(json.dumps(plain))[0]["part"] == leg.tokens[0].part
        assert all(other.tokens is None for name, other in hit.explanation.legs.items() if name != "tokens")
    inner = [leg for hit in variants for leg in hit.explanation.legs.values()]
    assert all(part.legs["tokens"].tokens for part in inner if "tokens" in part.legs)


def test_a_dense_encoders_token_vectors_are_explained_too(tiny_dense: DenseEncoder, tmp_path: Path) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", multi_vector=DenseTokens(tiny_dense), bm25=False, show_progress=False)
    with SearchPipeline.open(tmp_path / "c", legs=["tokens"], dense=tiny_dense) as pipeline:
        leg = pipeline.search("water wave", k=1, explain=True)[0].explanation.legs["tokens"]
    assert [match.token for match in leg.tokens] == ["[CLS]", "water", "wave", "[SEP]"]
    assert sum(match.part for match in leg.tokens) == pytest.approx(leg.score, abs=1e-4)


def test_the_command_line_shows_matched_tokens(
    folder: Path, encoder: MultiVectorEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", multi_vector=encoder, bm25=False, show_progress=False)
    command = ["search", str(tmp_path / "c"), "water wave", "--explain"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "tokens: 100% of the fused score" in said and "water>" in said and ">>" in said
    assert main([*command, "--json"]) == 0
    hit = json.loads(capsys.readouterr().out.splitlines()[0])["hits"][0]
    tokens = hit["explanation"]["legs"]["tokens"]["tokens"]
    assert {"token", "matched", "part"} <= tokens[0].keys()
    assert all(hit["text"][start:end] for start, end in hit["highlights"])


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("query", ["water wave", ["water wave", "the price"]])
def test_a_late_interaction_reranker_is_explained_by_its_tokens(
    tiny_dense: DenseEncoder, tmp_path: Path, stored: bool, query: "str | list[str]"
) -> None:
    tokens = {"multi_vector": DenseTokens(tiny_dense)} if stored else {}
    build_collection(DOCUMENTS, tmp_path / "c", dense=tiny_dense, **tokens, bm25=False, show_progress=False)
    with SearchPipeline.open(tmp_path / "c", dense=tiny_dense, reranker="late-interaction", candidates=3) as pipeline:
        search = pipeline.search if isinstance(query, str) else pipeline.multi_search
        found = search(query, k=4, explain=True)
        assert search(query, k=4)[0].explanation is None
    assert len(found) == 4
    for hit in found[:3]:
        why = hit.explanation
        assert [match.token for match in why.reranker_tokens] == ["[CLS]", "water", "wave", "[SEP]"]
        assert sum(match.part for match in why.reranker_tokens) == pytest.approx(why.reranker.score, abs=1e-5)
        contents = f"{hit.title} {hit.text}".strip()
        assert all(contents[slice(*match.span)] == match.matched for match in why.reranker_tokens if match.span)
        plain = json.loads(json.dumps(hit.as_dict()))["explanation"]["reranker"]
        assert plain["tokens"][1]["token"] == "water" and plain["rank"] == why.reranker.rank
        assert token_highlight(hit) is not None
    assert found[3].explanation.reranker is None and found[3].explanation.reranker_tokens is None


@pytest.mark.parametrize("passages", ["max", "mean", "first"])
def test_parts_of_a_long_documents_windows_sum_to_the_rerankers_score(
    encoder: MultiVectorEncoder, collection: Path, passages: str
) -> None:
    reranker = LateInteractionReranker(encoder, passages=passages, overlap=2)
    with SearchPipeline.open(collection, legs=["bm25"], reranker=reranker) as pipeline:
        long = {hit.doc_id: hit for hit in pipeline.search("fire water", k=4, explain=True)}["d3"]
    met = long.explanation.reranker_tokens
    assert sum(match.part for match in met) == pytest.approx(long.explanation.reranker.score, abs=1e-5)
    contents = f"{long.title} {long.text}".strip()
    assert all(contents[slice(*match.span)] == match.matched for match in met if match.span)
    assert (len(met) > len(scored_tokens(encoder, "fire water", "query"))) == (passages == "mean")


def test_another_reranker_has_no_tokens(collection: Path) -> None:
    class Halving:
        """A reranker of one's own, which keeps the order."""

        def rerank(self, queries, hits, documents, **options):
            return hits

    with SearchPipeline.open(collection, legs=["bm25"], reranker=Halving()) as pipeline:
        hit = pipeline.search("water", k=1, explain=True)[0]
    assert hit.explanation.reranker_tokens is None and hit.as_dict()["explanation"]["reranker"] is None


def test_the_command_line_shows_the_rerankers_tokens(
    tiny_dense: DenseEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", dense=tiny_dense, bm25=False, show_progress=False)
    command = ["search", str(tmp_path / "c"), "water wave", "--reranker", "late-interaction", "--explain"]
    assert main(command) == 0
    assert "     reranker: " in (said := capsys.readouterr().out) and "water>" in said
