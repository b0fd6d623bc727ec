"""Every public function takes what it says, and refuses anything else by one line that names argument and value."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
from late_interaction import write_colbert
from wrong_arguments import NOT_NUMBER, NOT_TEXTS, NOT_WHOLE, cases, label, refused

import public_calls as calls
from checkpoints import write_bert
from indexing.documents import Document
from indexing.errors import InputError
from indexing.runs import write_trec_run
from pipelines import SearchPipeline, build_collection
from pipelines.search import Refine
from public_calls import TEXTS, Parts
from retrieve import DenseEncoder, HybridRetriever, LateInteractionReranker, MultiVectorEncoder, Reranker
from retrieve.fusion import ReciprocalRank, reciprocal_rank_fusion
from retrieve.retrievers import Bm25Retriever

NAN = math.nan
DOCUMENTS = [
    Document("b1", "Bread bakes in a hot oven.", "Bread", {"year": 2010}),
    Document("s1", "Steel melts at great heat.", "Steel", {"year": 2011}),
    Document("v1", "Vaccines train the immune system.", "Vaccines", {"year": 2011}),
]

NOT_FILTER = [
    "year",
    b"year",
    {1},
    5,
    NAN,
    ["year"],
    [{"year": 2010}],
    {"nosuch": 1},
    {"year": {"near": 3}},
    {"year": "x"},
]
NOT_FUSION = [
    "nosuch",
    b"rrf",
    5,
    NAN,
    {"method": "nosuch"},
    {"method": "rrf", "nosuch": 1},
    [1],
    {"rrf"},
    ReciprocalRank,
]
NOT_QUERY = ["", " ", "\u200b", "\n\t", b"bread", None, NAN, 5, ["bread"], {"q": "bread"}, {"bread"}, np.float64(1)]


def as_generator(values):
    return (value for value in values)


FORMS: list[Callable[[list[str]], Any]] = [list, tuple, np.array, as_generator]


@pytest.fixture(scope="module")
def collection(tmp_path_factory, tiny_dense, tiny_splade):
    path = tmp_path_factory.mktemp("arguments") / "collection"
    fields = {"year": "number"}
    build_collection(DOCUMENTS, path, dense=tiny_dense, sparse=tiny_splade, fields=fields, show_progress=False)
    return path


@pytest.fixture(scope="module")
def opened(collection, tiny_dense, tiny_splade):
    return partial(SearchPipeline.open, collection, dense=tiny_dense, sparse=tiny_splade)


@pytest.fixture(scope="module")
def pipeline(opened):
    with opened() as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def parts(pipeline, tiny_dense, tiny_splade, tiny_cross_encoder):
    legs = {name: pipeline.leg(name) for name in ("bm25", "dense", "sparse")}
    reranker = LateInteractionReranker(tiny_dense)
    return Parts(
        pipeline,
        tiny_dense,
        tiny_splade,
        tiny_cross_encoder,
        reranker,
        HybridRetriever(list(legs.values())),
        legs,
        pipeline.collection,
    )


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_TEXTS, NOT_TEXTS))
def test_what_is_no_list_of_texts_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "must be a list of strings", "must be a string")


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_TEXTS_OR_ONE, NOT_TEXTS[1:]))
def test_what_is_neither_a_text_nor_a_list_of_texts_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "must be a list of strings", "must be a string")


@pytest.mark.parametrize("form", FORMS, ids=["list", "tuple", "array", "generator"])
@pytest.mark.parametrize("name", [*calls.TAKES_TEXTS, *calls.TAKES_TEXTS_OR_ONE])
def test_any_list_of_texts_is_taken_as_a_list(parts, name, form):
    function = (calls.TAKES_TEXTS | calls.TAKES_TEXTS_OR_ONE)[name]
    assert comparable(function(parts, form(TEXTS))) == comparable(function(parts, list(TEXTS)))


def comparable(found) -> Any:
    if isinstance(found, np.ndarray):
        return np.round(found, 4).tolist()
    if hasattr(found, "toarray"):
        return comparable(found.toarray())
    if hasattr(found, "to_run"):
        return found.to_run(["q1", "q2"])
    if hasattr(found, "vectors"):
        return comparable(found.vectors)
    if isinstance(found, list):
        return [comparable(item) for item in found]
    return getattr(found, "doc_id", found)


@pytest.mark.parametrize(
    ("function", "value"),
    cases(calls.TAKES_PAIRS, ["ab", {"ab"}, b"ab", None, NAN, 5, ["ab"], [("a", 1)], [("a",)], [5]]),
)
def test_what_is_no_list_of_pairs_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "pairs", "must be two strings", "must be a string")


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_A_QUERY, NOT_QUERY))
def test_what_is_no_query_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "is empty", "must be a string")


@pytest.mark.parametrize("value", ["bread", ["bread"], {"bread"}, None, b"bread", 5])
def test_many_queries_have_ids(parts, value):
    refused(lambda: parts.pipeline.batch_search(value), "batch_search takes {query_id: text}")


def test_a_query_without_a_word_finds_nothing_by_words_and_says_so(parts, opened):
    results = parts.pipeline.search("?!")
    assert all("bm25" not in hit.legs for hit in results)
    assert results.notes == ["the query '?!' contains no word: the leg 'bm25' finds nothing"]
    assert parts.pipeline.search("bread").notes == []
    with opened(legs=["bm25"], cache=4) as pipeline:
        for _ in range(2):
            assert pipeline.search("?") == [] and pipeline.search("?").as_dict()["notes"]


def test_grouping_by_a_field_that_no_hit_has_says_so(parts):
    results = parts.pipeline.search("bread", refine=Refine(group_by="nosuch"))
    assert len(results) == 3
    assert results.notes == ["group_by had no effect: none of the hits has the field 'nosuch'"]
    assert parts.pipeline.search("bread", refine=Refine(group_by="year")).notes == []


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_K, NOT_WHOLE))
def test_what_is_no_whole_number_is_refused_as_k(parts, function, value):
    message = refused(lambda: function(parts, value), "k must be a whole number of at least 1", "k must be at least 1")
    assert repr(value) in message


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_K, [np.int64(2), np.int32(2), np.uint8(2)]))
def test_numpys_whole_numbers_are_taken_as_k(parts, function, value):
    assert comparable(list(function(parts, value))) == comparable(list(function(parts, 2)))
    assert len(function(parts, value)) in (1, 2)


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_A_WHOLE_NUMBER, NOT_WHOLE))
def test_what_is_no_whole_number_is_refused(parts, function, value):
    refused(
        lambda: function(parts, value),
        "must be a whole number of at least 1",
        "must be at least 1, not",
        "no leg",
        "the leg 'k'",
    )


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_A_WHOLE_NUMBER, [np.int64(50), np.uint16(50)]))
def test_numpys_whole_numbers_are_taken(parts, function, value):
    function(parts, value)


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_A_NUMBER, NOT_NUMBER[:-1]))
def test_what_is_no_number_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "must be a number, not")


@pytest.mark.parametrize(
    ("function", "value"), cases(calls.TAKES_A_NUMBER, [np.float32(0.5), np.float64(0.5), 1, np.int64(1)])
)
def test_numpys_numbers_are_taken(parts, function, value):
    function(parts, value)


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_A_FILTER, NOT_FILTER))
def test_what_is_no_filter_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "filter", "'year'")


@pytest.mark.parametrize(("function", "value"), cases(calls.TAKES_A_FUSION, NOT_FUSION))
def test_what_is_no_fusion_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "fusion", "rrf")


@pytest.mark.parametrize(
    "value",
    ["rrf", "qdrant", {"method": "rrf"}, {"like": "elasticsearch"}, ReciprocalRank(), reciprocal_rank_fusion],
    ids=label,
)
@pytest.mark.parametrize("name", [*calls.TAKES_A_FUSION, "open"])
def test_a_fusion_is_a_name_a_preset_a_configuration_or_a_function(parts, opened, name, value):
    if name == "open":
        with opened(fusion=value) as pipeline:
            assert pipeline.search("bread oven")[0].doc_id
    else:
        assert len(calls.TAKES_A_FUSION[name](parts, value)) == 3


@pytest.mark.parametrize(
    ("function", "value"), cases(calls.TAKES_A_NAMED_THING, [5, None, "model", print, object(), DenseEncoder])
)
def test_what_lacks_the_interface_of_a_model_is_refused_by_name(parts, function, value):
    refused(lambda: function(parts, value), "must be an encoder", "must be a loaded")


@pytest.mark.parametrize("function", calls.TAKES_OPTIONS.values(), ids=calls.TAKES_OPTIONS)
def test_an_unknown_option_is_refused_by_name(parts, function):
    with pytest.raises((InputError, TypeError), match="'nonsense'"):
        function(parts, nonsense=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"legs": "bm25"},
        {"legs": {"bm25": 1}},
        {"legs": ["bm25", "bm25"]},
        {"legs": [None]},
        {"depth": 0},
        {"depth": 2.5},
        {"depth": "50"},
        {"depth": {"nosuch": 5}},
        {"fusion": 5},
        {"fusion": "nosuch"},
        {"candidates": "50"},
        {"candidates": 0},
        {"workers": 1.5},
        {"cache": -1},
        {"cache": NAN},
        {"budget": 5},
        {"on_leg_error": "ignore"},
        {"reranker": 5},
        {"reranker": print},
        {"dense": 5},
        {"dense": print},
        {"sparse": object()},
        {"refresh": "often"},
    ],
    ids=label,
)
def test_wrong_arguments_of_open_are_refused_there(opened, wrong):
    message = refused(lambda: opened(**wrong))
    assert next(iter(wrong)) in message


def test_numpys_numbers_are_taken_by_open(opened):
    arguments = {name: np.int64(3) for name in ("depth", "candidates", "workers", "cache")}
    with opened(**arguments) as pipeline:
        assert len(pipeline.search("bread", np.int64(2))) == 2


@pytest.mark.parametrize("run", [{1: {"d": 1.0}}, {"q": {7: 1.0}}, {"q": ["d"]}, {"q": {"d": "1"}}, ["q"], None, "q"])
def test_what_is_no_run_is_not_written(tmp_path, run):
    refused(lambda: write_trec_run(tmp_path / "run", run))
    assert not (tmp_path / "run").exists()


def test_a_cross_encoder_of_two_labels_is_refused_when_a_reranker_is_made(tmp_path):
    from transformers import BertForSequenceClassification

    from retrieve import CrossEncoder

    folder = write_bert(tmp_path / "two", BertForSequenceClassification, num_labels=2)
    refused(lambda: Reranker(CrossEncoder(folder, dtype="float32")), "with one label; this one has 2")


def test_outputs_that_are_no_numbers_are_never_returned(tmp_path, tiny_cross_encoder):
    import torch

    from indexing.errors import ModelError
    from retrieve import CrossEncoder

    encoder = DenseEncoder(write_bert(tmp_path / "dense"), dtype="float32")
    cross = CrossEncoder(tiny_cross_encoder.checkpoint.folder, dtype="float32")
    colbert = MultiVectorEncoder(write_colbert(tmp_path / "colbert"), dtype="float32")
    for model in (encoder, cross, colbert):
        with torch.no_grad():
            for weights in model.network.parameters():
                weights.fill_(NAN)
    for use in (
        lambda: encoder.encode(TEXTS),
        lambda: encoder.encode_tokens(TEXTS),
        lambda: colbert.encode(TEXTS),
        lambda: cross.predict([("a", "b")]),
        lambda: cross.rank("a", ["b"]),
    ):
        with pytest.raises(ModelError, match="returns NaN or infinite values"):
            use()


class OwnEncoder:
    """The example of docs/encoders.md: an encoder of one's own."""

    identity: ClassVar = {"name": "letters", "version": 1}
    dimension, similarity_fn_name = 26, "cosine"

    def encode_query(self, texts):
        counts = [[text.lower().count(chr(97 + at)) for at in range(26)] for text in texts]
        vectors = np.array(counts, np.float32) + 1e-6
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    encode_document = encode_query


def test_an_encoder_of_ones_own_builds_and_searches_a_collection(tmp_path):
    build_collection(DOCUMENTS, tmp_path / "own", dense=OwnEncoder(), show_progress=False)
    with SearchPipeline.open(tmp_path / "own", dense=OwnEncoder()) as pipeline:
        found = pipeline.search("Vaccines train the immune system")
        assert found[0].doc_id == "v1" and set(found[0].legs) == {"bm25", "dense"}
        assert len(Bm25Retriever(pipeline.collection.index("bm25")).search("bread")) == 1


def test_a_pipeline_opened_warm_has_searched_and_cached_nothing(tmp_path):
    """Queries of several lengths reach the encoder before the first search, and searches find the same."""
    asked = []

    class Recorded(OwnEncoder):
        def encode_query(self, texts):
            asked.extend(texts)
            return super().encode_query(texts)

    build_collection(DOCUMENTS, tmp_path / "own", dense=OwnEncoder(), show_progress=False)
    query = "Vaccines train the immune system"
    with SearchPipeline.open(tmp_path / "own", dense=Recorded(), cache=10) as cold:
        assert not asked
        found = [(hit.doc_id, hit.score) for hit in cold.search(query)]
    asked.clear()
    with SearchPipeline.open(tmp_path / "own", dense=Recorded(), cache=10, warm=True) as warm:
        lengths = [len(text.split()) for text in asked]
        assert lengths[:-1] == sorted(set(lengths[:-1])) and len(lengths) > 5
        assert len(warm.cache) == 0
        assert [(hit.doc_id, hit.score) for hit in warm.search(query)] == found and len(warm.cache) == 1


@pytest.mark.parametrize("argument", ["dense", "sparse"])
@pytest.mark.parametrize("value", [5, print, object(), "model", DenseEncoder])
def test_a_build_refuses_what_is_no_encoder(tmp_path, argument, value):
    message = refused(lambda: build_collection(DOCUMENTS, tmp_path / "c", **{argument: value}, show_progress=False))
    assert message.startswith(f"{argument} must be an encoder")
