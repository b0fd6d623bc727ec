"""Arguments of evaluators, similar texts, token and remote encoders, and documents: right, or one line that names them.

Each call of a table gets each wrong value, as in `test_arguments.py`.
"""

import math

import numpy as np
import pytest
import torch
from late_interaction import write_colbert
from wrong_arguments import NOT_NUMBER, NOT_TEXTS, NOT_WHOLE, cases, label, refused

import pipelines.evaluation.evaluators as evaluators
from indexing.collection.backup import backup
from indexing.collection.reader import Collection
from indexing.corpora.files import read_files
from indexing.documents import Document
from indexing.query_syntax import parse_query
from indexing.query_syntax.synonyms import Synonyms
from pipelines import SearchPipeline, build_collection, similar
from pipelines.build.job import update_collection
from pipelines.build.sync import sync_files
from pipelines.deploy.job import deploy
from pipelines.search.boosts import Boost
from pipelines.search.facets import Facets
from pipelines.search.stages import SearchRequest
from remote_stub import stub
from retrieve import DenseEncoder, MultiVectorEncoder
from retrieve.remote.encoders import RemoteEncoder, RemoteSparseEncoder
from retrieve.reranking.remote import RemoteReranker

NAN = math.nan
TEXTS = ["bread oven", "steel"]
PAIRS = [("a", "b"), ("c", "d")]
SAMPLES = [{"query": "a", "positive": ["b"], "negative": ["c"]}]
ANYTHING = ["ab", b"ab", None, NAN, 5, {"a": 1}, {1}]
NOT_NAMES = ["nosuch", 5, NAN, b"cosine", ["cosine"]]


NO_FLAGS = ["false", "yes", 1, 0, None, NAN, [True]]


class Parts:
    """What the calls need."""

    def __init__(self, dense, multi, server):
        self.dense, self.multi, self.server = dense, multi, server
        self.vectors = dense.encode(TEXTS)
        self.url = f"{server.url}/v1/embeddings"

    def remote(self, **options):
        return RemoteEncoder(self.url, "m", **options)

    def sparse(self, **options):
        return RemoteSparseEncoder(f"{self.server.url}/embed_sparse", **options)


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tiny_dense):
    multi = MultiVectorEncoder(write_colbert(tmp_path_factory.mktemp("more") / "colbert"), dtype="float32")
    with stub() as server:
        yield Parts(tiny_dense, multi, server)


TAKES_TEXTS = {
    "multi.encode_stream": lambda p, v: list(p.multi.encode_stream(v)),
    "dense.encode_stream": lambda p, v: list(p.dense.encode_stream(v)),
    "paraphrase_mining": lambda p, v: similar.paraphrase_mining(p.dense, v),
    "MSE": lambda p, v: evaluators.MSEEvaluator(v, TEXTS, p.dense),
    "MSE targets": lambda p, v: evaluators.MSEEvaluator(TEXTS, v, p.dense),
    "Translation": lambda p, v: evaluators.TranslationEvaluator(v, TEXTS),
    "Triplet": lambda p, v: evaluators.TripletEvaluator(v, TEXTS, TEXTS),
    "Triplet negatives": lambda p, v: evaluators.TripletEvaluator(TEXTS, TEXTS, v),
    "BinaryClassification": lambda p, v: evaluators.BinaryClassificationEvaluator(v, TEXTS, [0, 1]),
    "EmbeddingSimilarity": lambda p, v: evaluators.EmbeddingSimilarityEvaluator(TEXTS, v, [0.1, 0.9]),
    "vocabulary": lambda p, v: p.sparse(vocabulary=v if not isinstance(v, int) else [v]),
}
TAKES_TEXTS_OR_ONE = {
    "multi.encode": lambda p, v: p.multi.encode(v),
    "multi.encode_query": lambda p, v: p.multi.encode_query(v),
    "multi.encode_document": lambda p, v: p.multi.encode_document(v),
    "remote.encode_query": lambda p, v: p.remote().encode_query(v),
    "remote.encode_document": lambda p, v: p.remote().encode_document(v),
    "remote sparse": lambda p, v: p.sparse().encode_query(v),
}
TAKES_A_WHOLE_NUMBER = {
    "semantic_search": lambda p, v: similar.semantic_search(p.vectors, p.vectors, top_k=v),
    "paraphrase_mining": lambda p, v: similar.paraphrase_mining(p.dense, TEXTS, top_k=v),
    "max_pairs": lambda p, v: similar.paraphrase_mining(p.dense, TEXTS, max_pairs=v),
    "community_detection": lambda p, v: similar.community_detection(p.vectors, min_community_size=v),
    "community batch": lambda p, v: similar.community_detection(p.vectors, batch_size=v),
    "remote batch": lambda p, v: p.remote(batch=0 if v is None else v),
    "remote concurrency": lambda p, v: p.remote(concurrency=v),
    "remote dimensions": lambda p, v: p.remote(dimensions=0 if v is None else v),
    "multi token_budget": lambda p, v: p.multi.encode(TEXTS, token_budget=v or 0),
    "Encoding batch": lambda p, v: evaluators.TranslationEvaluator(TEXTS, TEXTS, batch_size=v),
    "Encoding truncate_dim": lambda p, v: evaluators.TranslationEvaluator(TEXTS, TEXTS, truncate_dim=v or 0),
    "Reranking at_k": lambda p, v: evaluators.RerankingEvaluator(SAMPLES, at_k=v),
    "ParaphraseMining top_k": lambda p, v: evaluators.ParaphraseMiningEvaluator({"a": "b"}, top_k=v),
    "read_files": lambda p, v: read_files(".", most_bytes=v),
    "facets of hits": lambda p, v: Facets(["year"], hits=v),
}
TAKES_A_NUMBER = {
    "community threshold": lambda p, v: similar.community_detection(p.vectors, threshold=v),
    "query_seconds": lambda p, v: p.remote(query_seconds=v),
    "document_seconds": lambda p, v: p.sparse(document_seconds=v),
    "reranker's seconds": lambda p, v: RemoteReranker(f"{p.server.url}/v1/rerank", seconds=v),
    "reranker's weight": lambda p, v: RemoteReranker(f"{p.server.url}/v1/rerank", weight=v),
    "pool_factor": lambda p, v: p.multi.encode(TEXTS, pool_factor=v),
}
NOT_LABELS = [*ANYTHING, [None, 1], ["0", "1"], [0.5, 1], [NAN, 1], [0]]
NOT_SCORES = [*ANYTHING, [None, 1], ["0", "1"], [NAN, 1], [0]]
NOT_PAIRS = [*ANYTHING, ["ab", "cd"], [("a",), ("b",)], [("a", 5), ("b", "c")], []]
NOT_SAMPLES = [*ANYTHING, [5], ["a"], [{"query": "a"}], [{**SAMPLES[0], "query": 5}], [{**SAMPLES[0], "positive": [5]}]]
NOT_VECTORS = ["ab", None, NAN, 5, {"a": 1}, [None], ["a"], [[1.0, NAN]], np.array([["a"]])]
OTHERS = {
    "labels": (lambda p, v: evaluators.BinaryClassificationEvaluator(TEXTS, TEXTS, v), [*NOT_LABELS, [0, 2]]),
    "classes": (lambda p, v: evaluators.CrossEncoderClassificationEvaluator(PAIRS, v), NOT_LABELS),
    "scores": (lambda p, v: evaluators.EmbeddingSimilarityEvaluator(TEXTS, TEXTS, v), NOT_SCORES),
    "cross scores": (lambda p, v: evaluators.CrossEncoderCorrelationEvaluator(PAIRS, v), NOT_SCORES),
    "pairs": (lambda p, v: evaluators.CrossEncoderClassificationEvaluator(v, [0, 1]), NOT_PAIRS),
    "samples": (lambda p, v: evaluators.RerankingEvaluator(v), NOT_SAMPLES),
    "cross samples": (lambda p, v: evaluators.CrossEncoderRerankingEvaluator(v), NOT_SAMPLES),
    "fused samples": (lambda p, v: evaluators.ReciprocalRankFusionEvaluator(v, v), NOT_SAMPLES),
    "sentences_map": (lambda p, v: evaluators.ParaphraseMiningEvaluator(v, []), [*ANYTHING, [1], {"a": None}]),
    "duplicates": (lambda p, v: evaluators.ParaphraseMiningEvaluator({"a": "b"}, v), ["ab", b"ab", 5, ["a"], [5]]),
    "similarities": (
        lambda p, v: evaluators.EmbeddingSimilarityEvaluator(TEXTS, TEXTS, [0, 1], similarity_fn_names=v),
        ["cosine", b"cosine", 5, ["nosuch"], [None], {"cosine"}],
    ),
    "margin": (
        lambda p, v: evaluators.TripletEvaluator(TEXTS, TEXTS, TEXTS, margin=v),
        [*NOT_NUMBER[:-1], {"dot": "x"}],
    ),
    "similarity": (
        lambda p, v: evaluators.EmbeddingSimilarityEvaluator(TEXTS, TEXTS, [0, 1], main_similarity=v),
        NOT_NAMES,
    ),
    "vectors": (lambda p, v: similar.semantic_search(v, p.vectors), NOT_VECTORS),
    "vectors of communities": (lambda p, v: similar.community_detection(v), NOT_VECTORS),
    "score_function": (lambda p, v: similar.semantic_search(p.vectors, p.vectors, score_function=v), NOT_NAMES),
    "model": (lambda p, v: similar.paraphrase_mining(v, TEXTS), ["m", 5, None, print, object()]),
    "evaluated": (lambda p, v: evaluators.TranslationEvaluator(TEXTS, TEXTS)(v), ["m", 5, None, object(), type]),
    "teacher": (lambda p, v: evaluators.MSEEvaluator(TEXTS, TEXTS, v)(p.dense), ["m", 5, None, object()]),
    "files": (lambda p, v: read_files(v), [None, 5, NAN, b"x", {"a": 1}, ["a"], ""]),
    "url": (lambda p, v: RemoteEncoder(v, "m"), [None, 5, NAN, b"http://x", "", "nourl", "ftp://x", "http://"]),
    "protocol": (lambda p, v: p.remote(protocol=v), NOT_NAMES),
    "remote similarity": (lambda p, v: p.remote(similarity=v), [None, *NOT_NAMES]),
    "remote prompt": (lambda p, v: p.remote(query_prompt=v), [5, None, b"x", ["q"]]),
    "key_variable": (lambda p, v: p.remote(key_variable=v), [5, b"x", ["q"], "NOT_A_VARIABLE"]),
    "remote model": (lambda p, v: RemoteEncoder(p.url, v), [5, b"x", ["q"]]),
    "vocabulary": (lambda p, v: p.sparse(vocabulary=v), [0, -1, True]),
    "task": (lambda p, v: p.multi.encode(TEXTS, task=v), ["nosuch", 5, ["query"], b"query"]),
    "prompt": (lambda p, v: p.multi.encode(TEXTS, prompt=v), [5, ["query"], b"query"]),
    "prompt_name": (lambda p, v: p.dense.encode(TEXTS, prompt_name=v), [5, ["query"], b"query", "nosuch"]),
    "precision": (lambda p, v: p.multi.encode(TEXTS, precision=v), [5, ["float16"], b"float16", "nosuch", None]),
    "dense precision": (lambda p, v: p.dense.encode(TEXTS, precision=v), [5, ["int8"], b"int8", "nosuch"]),
    "convert_to": (lambda p, v: p.multi.encode(TEXTS, convert_to=v), [5, ["list"], b"list", "nosuch", None]),
    "a query's syntax": (lambda p, v: parse_query(v), [None, 5, NAN, b"bread", ["bread"], {"bread"}]),
    "synonyms": (lambda p, v: Synonyms.load(v), ["nosuch", "."]),
    "boosted field": (lambda p, v: Boost(v, ["x"]), [None, 5, b"year", ["year"]]),
    "facets": (lambda p, v: Facets.of(v), ["year", b"year", 5, [5], {"year"}]),
}
UNKNOWN = {
    "encode": lambda p, **o: p.multi.encode(TEXTS, **o),
    "evaluator": lambda p, **o: evaluators.TranslationEvaluator(TEXTS, TEXTS, **o),
    "semantic_search": lambda p, **o: similar.semantic_search(p.vectors, p.vectors, **o),
    "RemoteEncoder": lambda p, **o: p.remote(**o),
    "read_files": lambda p, **o: read_files(".", **o),
}


@pytest.mark.parametrize(("function", "value"), cases(TAKES_TEXTS, NOT_TEXTS))
def test_what_is_no_list_of_texts_is_refused(parts, function, value):
    refused(lambda: function(parts, value))


@pytest.mark.parametrize(("function", "value"), cases(TAKES_TEXTS_OR_ONE, NOT_TEXTS[1:]))
def test_what_is_neither_a_text_nor_a_list_of_texts_is_refused(parts, function, value):
    refused(lambda: function(parts, value))


@pytest.mark.parametrize(("function", "value"), cases(TAKES_A_WHOLE_NUMBER, NOT_WHOLE))
def test_what_is_no_whole_number_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "whole number", "at least")


@pytest.mark.parametrize(("function", "value"), cases(TAKES_A_NUMBER, NOT_NUMBER[:-1]))
def test_what_is_no_number_is_refused(parts, function, value):
    refused(lambda: function(parts, value), "number", "between", "at least")


WRONG = [pytest.param(name, value, id=label(f"{name}-{value!r}")) for name in OTHERS for value in OTHERS[name][1]]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_does_not_fit_is_refused(parts, name, value):
    refused(lambda: OTHERS[name][0](parts, value))


@pytest.mark.parametrize("function", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_option_is_refused_by_name(parts, function):
    with pytest.raises((TypeError, ValueError), match="nosuch"):
        function(parts, nosuch=1)


def test_labels_and_scores_may_be_numbers_of_any_kind(parts):
    """Of NumPy, of torch, true and false, and floats that are whole."""
    for labels in ([0, 1], (0.0, 1.0), np.array([0, 1], np.uint8), torch.tensor([0, 1]), [False, True], iter([0, 1])):
        evaluator = evaluators.BinaryClassificationEvaluator(np.array(TEXTS), tuple(TEXTS), labels)
        assert evaluator.labels.tolist() == [0, 1]
        assert evaluator(parts.dense)
    for scores in ([0, 1], np.array([0.0, 1.0], np.float32), torch.tensor([0.0, 1.0])):
        assert evaluators.EmbeddingSimilarityEvaluator(TEXTS, TEXTS, scores).scores.tolist() == [0.0, 1.0]


def test_numpys_numbers_are_taken(parts):
    for name, function in TAKES_A_WHOLE_NUMBER.items():
        if name != "remote dimensions":
            function(parts, np.int64(8))
    for name, function in TAKES_A_NUMBER.items():
        function(parts, np.float32(1.0 if name != "reranker's weight" else 0.5))


FLAGS = {
    "overwrite": lambda path, v: build_collection([Document("a", "b")], path, overwrite=v, show_progress=False),
    "overwrite of a copy": lambda path, v: backup(path, path.parent / "copy", overwrite=v),
    "removal of documents": lambda path, v: update_collection([], path, encoders={}, remove=v, show_progress=False),
    "removal of files": lambda path, v: sync_files(
        read_files(path.parent), path, encoders=dict, remove_missing=v, show_progress=False
    ),
    "follow": lambda path, v: deploy(path, path.parent / "there", follow=v, show_progress=False),
    "on_disk": lambda path, v: deploy(path, path.parent / "there", on_disk=v, show_progress=False),
    "warm": lambda path, v: SearchPipeline.open(path, warm=v),
    "explain": lambda path, v: SearchRequest(explain=v),
    **{
        name: lambda path, v, name=name: DenseEncoder(path, **{name: v})
        for name in ("trust_remote_code", "allow_bin", "local_files_only", "compile")
    },
}


@pytest.mark.parametrize("normalize", NO_FLAGS)
def test_normalize_is_true_or_false(parts, normalize):
    for encoder in (parts.dense, parts.multi):
        refused(lambda encoder=encoder: encoder.encode(TEXTS, normalize=normalize), "must be True or False")
        refused(lambda encoder=encoder: list(encoder.encode_stream(TEXTS, normalize=normalize)), "True or False")


@pytest.mark.parametrize("models", [5, "all-MiniLM-L6-v2", {}, type])
def test_models_are_a_loader(kept, models):
    refused(lambda: SearchPipeline.open(kept, models=models), "must be a Models or None")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("flags") / "c"
    build_collection([Document("a", "kept")], path, show_progress=False)
    return path


@pytest.mark.parametrize(("call", "value"), cases(FLAGS, NO_FLAGS))
def test_flags_are_true_or_false(call, value, kept):
    """The text "false" would overwrite a collection, or run a checkpoint's code."""
    refused(lambda: call(kept, value), "must be True or False")
    with Collection.open(kept) as collection:
        assert collection.documents.contents(["a"]) == ["kept"]
