"""Adapters take filters and options as their frameworks name them, and refuse what they do not know."""

import asyncio
import math
import os

import numpy as np
import pytest

from indexing.documents import Document
from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from pipelines.adapters.filters import from_haystack, from_llamaindex
from pipelines.search import Refine
from retrieve.reranking.base import CandidateReranker

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
NOT_WHOLE = ["2", 0, -1, 2.5, 2.0, math.nan, [2], True]
DOCUMENTS = [
    Document("a", "bread of rye", "Rye", {"year": 2010, "lang": "en", "retrieval": "by hand"}),
    Document("b", "bread of wheat and rye", "", {"year": 2011, "lang": "de"}),
    Document("c", "bread of spelt", "", {"year": 2011, "lang": "en", "draft": True}),
    Document("d", "bread of oats and rye", "", {"lang": "fr"}),
]
EVERYTHING = {"a", "b", "c", "d"}


class Shortest(CandidateReranker):
    """A reranker without a model: the shortest text first."""

    def _scores(self, queries, rows, texts, places):
        return -np.array([len(texts[place]) for place in places], np.float32)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    path = tmp_path_factory.mktemp("adapters") / "fields"
    fields = {"year": "number", "lang": "keyword", "draft": "boolean"}
    build_collection(DOCUMENTS, path, fields=fields, show_progress=False)
    return path


@pytest.fixture(scope="module")
def pipeline(collection):
    with SearchPipeline.open(collection, config={"tenants": "lang"}) as pipeline:
        yield pipeline


def refused(call, *names):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(name in message for name in names), message


class TestLangChain:
    @pytest.fixture
    def made(self, pipeline):
        langchain = pytest.importorskip("pipelines.adapters.langchain")
        return lambda **arguments: langchain.PipelineRetriever(pipeline=pipeline, **arguments)

    @pytest.fixture
    def compressor(self):
        return pytest.importorskip("pipelines.adapters.langchain").RerankerCompressor

    @pytest.mark.parametrize(
        "arguments",
        [
            {"filter": {"year": 2011}},
            {"search_kwargs": {"filter": {"year": 2011}}},
            {"options": {"filter": {"year": 2011}}},
        ],
        ids=["filter", "search_kwargs", "options"],
    )
    def test_a_filter_holds_for_every_way_to_search(self, made, arguments):
        retriever = made(**arguments)
        ways = [
            retriever.invoke("bread"),
            asyncio.run(retriever.ainvoke("bread")),
            *retriever.batch(["bread", "rye bread"]),
            *asyncio.run(retriever.abatch(["bread"])),
        ]
        for found in ways:
            assert {document.id for document in found} == {"b", "c"}
        assert [document.id for document in retriever.invoke("bread", filter={"year": 2010})] == ["a"]

    def test_a_tenant_is_searched(self, made):
        for retriever, more in ((made(options={"tenant": "en"}), {}), (made(), {"tenant": "en"})):
            assert {document.id for document in retriever.invoke("bread", **more)} == {"a", "c"}
        assert [one.id for one in made(filter={"year": 2011}).batch(["bread"], tenant="en")[0]] == ["c"]

    def test_search_kwargs_are_langchains(self, made, pipeline):
        assert len(made(search_kwargs={"k": 1}).invoke("bread")) == 1
        assert len(made(search_kwargs={"k": np.int64(1)}).invoke("bread", k=2)) == 2
        threshold = pipeline.search("rye bread")[1].score
        found = made(search_kwargs={"score_threshold": threshold}).invoke("rye bread")
        expected = pipeline.search("rye bread", refine=Refine(threshold=threshold))
        assert [document.id for document in found] == [hit.doc_id for hit in expected]
        assert 0 < len(found) < 4

    @pytest.mark.parametrize(
        ("arguments", "names"),
        [
            ({"nonsense": 1}, ["nonsense"]),
            ({"search_type": "mmr"}, ["search_type"]),
            ({"filters": {"year": 2011}}, ["filters"]),
            ({"search_kwargs": {"nonsense": 1}}, ["search_kwargs", "nonsense"]),
            ({"search_kwargs": {"where": {}}}, ["where"]),
            ({"search_kwargs": [("k", 1)]}, ["search_kwargs"]),
            ({"options": {"nonsense": 1}}, ["options", "nonsense"]),
            ({"search_kwargs": {"score_threshold": math.nan}}, ["score_threshold"]),
            ({"search_kwargs": {"score_threshold": "0.5"}}, ["score_threshold"]),
            ({"filter": {"year": 1}, "search_kwargs": {"filter": {"year": 2}}}, ["filter"]),
            *(({"k": value}, ["k must be"]) for value in NOT_WHOLE),
            *(({"search_kwargs": {"k": value}}, ["k must be"]) for value in NOT_WHOLE),
        ],
        ids=str,
    )
    def test_unknown_and_wrong_arguments_are_refused(self, made, arguments, names):
        refused(lambda: made(**arguments), *names)

    def test_a_call_refuses_them_too(self, made):
        retriever = made()
        for call in (retriever.invoke, lambda *a, **o: asyncio.run(retriever.ainvoke(*a, **o))):
            refused(lambda call=call: call("bread", nonsense=1), "nonsense")
            refused(lambda call=call: call("bread", k=0), "k must be")
            refused(lambda call=call: call("bread", filter={"nosuch": 1}), "nosuch")
            refused(lambda call=call: call(""), "empty")
        refused(lambda: retriever.batch(["bread"], nonsense=1), "nonsense")

    def test_a_documents_own_field_retrieval_is_kept(self, made, compressor):
        (found,) = made(filter={"year": 2010}).invoke("bread")
        assert found.metadata["document_retrieval"] == "by hand"
        assert found.metadata["retrieval"]["doc_id"] == "a"
        foreign = [
            type(found)(page_content=text, metadata={"retrieval": value})
            for text, value in (("bread", "bm25"), ("rye", None), ("oats and", {"legs": 5, "score": "high"}))
        ]
        ranked = compressor(reranker=Shortest()).compress_documents(foreign, "x")
        assert [document.page_content for document in ranked] == ["rye", "bread", "oats and"]
        assert [document.metadata.get("document_retrieval") for document in ranked[:2]] == [None, "bm25"]

    @pytest.mark.parametrize("value", NOT_WHOLE)
    def test_top_n_is_a_whole_number(self, compressor, value):
        refused(lambda: compressor(reranker=Shortest(), top_n=value), "top_n must be")

    def test_a_compressor_takes_rerankers_and_nothing_unknown(self, compressor):
        refused(lambda: compressor(reranker=Shortest(), nonsense=1), "nonsense")
        for value in (5, "model", None, Shortest):
            refused(lambda value=value: compressor(reranker=value), "reranker must be")

    def test_a_retriever_takes_pipelines(self, made):
        langchain = pytest.importorskip("pipelines.adapters.langchain")
        for value in (5, "path", None, SearchPipeline):
            refused(lambda value=value: langchain.PipelineRetriever(pipeline=value), "pipeline must be")


class TestLlamaIndex:
    @pytest.fixture
    def made(self, pipeline):
        llamaindex = pytest.importorskip("pipelines.adapters.llamaindex")
        return lambda **arguments: llamaindex.PipelineRetriever(pipeline, **arguments)

    def cases(self):
        types = pytest.importorskip("llama_index.core.vector_stores")
        one, operators = types.MetadataFilter, types.FilterOperator
        single = [
            one(key="year", value=2011),
            one(key="lang", value="en", operator=operators.NE),
            one(key="year", value=2010, operator=operators.GT),
            one(key="year", value=2011, operator=operators.GTE),
            one(key="year", value=2011, operator=operators.LT),
            one(key="year", value=2010, operator=operators.LTE),
            one(key="lang", value=["en", "de"], operator=operators.IN),
            one(key="lang", value=["en", "de"], operator=operators.NIN),
            one(key="year", value=None, operator=operators.IS_EMPTY),
        ]
        for part in single:
            yield types.MetadataFilters(filters=[part])
        for condition in ("and", "or", "not"):
            yield types.MetadataFilters(filters=single[1:3], condition=condition)
        yield types.MetadataFilters(filters=[])

    def test_its_filters_keep_what_it_keeps_itself(self, made):
        from llama_index.core.vector_stores.utils import build_metadata_filter_fn

        by_id = {document.doc_id: document.metadata for document in DOCUMENTS}
        for filters in self.cases():
            keeps = build_metadata_filter_fn(by_id.__getitem__, filters)
            expected = {doc_id for doc_id in by_id if keeps(doc_id)}
            for found in (
                made(filters=filters).retrieve("bread"),
                asyncio.run(made(filter=filters).aretrieve("bread")),
            ):
                assert {entry.node.node_id for entry in found} == expected, filters

    def test_ours_are_taken_too_and_nested_ones(self, made):
        types = pytest.importorskip("llama_index.core.vector_stores")
        assert {entry.node.node_id for entry in made(filters={"lang": ["fr", "de"]}).retrieve("bread")} == {"b", "d"}
        inner = types.MetadataFilters(filters=[types.MetadataFilter(key="year", value=2010)])
        other = types.MetadataFilter(key="lang", value="fr")
        nested = types.MetadataFilters(filters=[inner, other], condition="or")
        assert {entry.node.node_id for entry in made(filters=nested).retrieve("bread")} == {"a", "d"}

    def test_what_it_cannot_translate_is_refused(self, made):
        types = pytest.importorskip("llama_index.core.vector_stores")
        wrong = types.MetadataFilter(key="lang", value="e", operator=types.FilterOperator.TEXT_MATCH)
        refused(lambda: made(filters=types.MetadataFilters(filters=[wrong])), "text_match", "lang")
        refused(lambda: made(nonsense=1), "nonsense")
        refused(lambda: made(similarity_top_k=1), "similarity_top_k")
        refused(lambda: made(filter={}, filters={}), "filters and filter")
        for value in NOT_WHOLE:
            refused(lambda value=value: made(k=value), "k must be")

    def test_a_postprocessor_takes_rerankers_and_whole_numbers(self):
        postprocessor = pytest.importorskip("pipelines.adapters.llamaindex").RerankerPostprocessor
        refused(lambda: postprocessor(reranker=Shortest(), nonsense=1), "nonsense")
        refused(lambda: postprocessor(reranker=5), "reranker must be")
        for value in NOT_WHOLE:
            refused(lambda value=value: postprocessor(reranker=Shortest(), top_n=value), "top_n must be")


class TestHaystack:
    @pytest.fixture
    def made(self, collection):
        haystack = pytest.importorskip("pipelines.adapters.haystack")
        return lambda **arguments: haystack.PipelineRetriever(str(collection), **arguments)

    CASES = (
        {"field": "meta.year", "operator": "==", "value": 2011},
        {"field": "meta.lang", "operator": "!=", "value": "en"},
        {"field": "meta.year", "operator": ">", "value": 2010},
        {"field": "meta.year", "operator": ">=", "value": 2011},
        {"field": "meta.year", "operator": "<", "value": 2011},
        {"field": "meta.year", "operator": "<=", "value": 2010},
        {"field": "meta.lang", "operator": "in", "value": ["en", "de"]},
        {"field": "meta.lang", "operator": "not in", "value": ["en", "de"]},
        {"field": "meta.year", "operator": "==", "value": None},
        {"field": "meta.year", "operator": "!=", "value": None},
    )

    def combined(self):
        yield from self.CASES
        for operator in ("AND", "OR", "NOT"):
            for at in range(len(self.CASES) - 1):
                yield {"operator": operator, "conditions": list(self.CASES[at : at + 2])}
        yield {"operator": "OR", "conditions": [{"operator": "AND", "conditions": [*self.CASES[:2]]}, self.CASES[5]]}

    def test_its_filters_keep_what_it_keeps_itself(self, made):
        haystack = pytest.importorskip("haystack")
        from haystack.utils.filters import document_matches_filter

        documents = [haystack.Document(id=document.doc_id, meta=dict(document.metadata)) for document in DOCUMENTS]
        retriever = made()
        for filters in self.combined():
            expected = {document.id for document in documents if document_matches_filter(filters, document)}
            found = retriever.run("bread", filters=filters)["documents"]
            assert {document.id for document in found} == expected, filters
        found = asyncio.run(made(filters=self.CASES[0]).run_async("bread"))["documents"]
        assert {document.id for document in found} == {"b", "c"}
        assert len(retriever.run("bread", filters={"lang": "fr"})["documents"]) == 1
        retriever.close()

    def test_what_it_cannot_translate_is_refused(self, made):
        refused(lambda: made(filters={"field": "meta.year", "operator": "~", "value": 1}), "~", "year")
        refused(lambda: made(filters={"operator": "XOR", "conditions": []}), "XOR")
        refused(lambda: made().run("bread", filters={"field": "meta.nosuch", "operator": "==", "value": 1}), "nosuch")

    @pytest.mark.parametrize("value", NOT_WHOLE)
    def test_top_k_is_a_whole_number(self, made, value, monkeypatch):
        haystack = pytest.importorskip("pipelines.adapters.haystack")
        refused(lambda: made(top_k=value), "top_k must be")
        refused(lambda: made().run("bread", top_k=value), "top_k must be")
        refused(lambda: asyncio.run(made().run_async("bread", top_k=value)), "top_k must be")
        monkeypatch.setattr(haystack.CandidateRanker, "_loaded", lambda self: Shortest())
        refused(lambda: haystack.CandidateRanker("model", top_k=value), "top_k must be")
        refused(lambda: haystack.CandidateRanker("model").run("bread", [], top_k=value), "top_k must be")

    def test_numpys_whole_numbers_are_taken_and_written_as_plain_ones(self, made):
        retriever = made(top_k=np.int64(2))
        assert len(retriever.run("bread", top_k=np.int32(1))["documents"]) == 1
        assert type(retriever.to_dict()["init_parameters"]["top_k"]) is int
        with pytest.raises(TypeError, match="'nonsense'"):
            made(nonsense=1)


def test_a_score_that_is_no_number_is_refused():
    from pipelines.adapters.common import rerank_texts

    for score in (math.nan, "1", True):
        refused(lambda score=score: rerank_texts(Shortest(), "x", ["a", "b"], [1.0, score]), "the score of document 1")
    refused(lambda: rerank_texts(Shortest(), None, ["a"], [1.0]), "the query")
    refused(lambda: rerank_texts(Shortest(), "x", [b"a"], [1.0]), "the text of document 0")
    assert [found.position for found in rerank_texts(Shortest(), "x", ["ab", "a"], [np.float32(1), None])] == [1, 0]


def test_filters_of_other_forms_are_left_alone():
    for written in (None, {}, {"year": 2011}, {"operator": "x"}, 5):
        assert from_haystack(written) is written and from_llamaindex(written) is written
