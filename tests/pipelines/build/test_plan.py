"""Plans: legs in the requested index, and which interrupted builds can be resumed."""

import os
from dataclasses import replace

import numpy as np
import pytest
from crash.cheap import WORDS, CheapVectors, CheapWeights, documents

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.corpora.corpus import read_corpus
from indexing.errors import InputError
from indexing.indexes.qdrant.index import QdrantIndex
from pipelines import SearchPipeline, build_collection
from pipelines.build.estimate import estimate_build
from pipelines.build.job import build_legs, update_collection
from pipelines.build.plan import IndexChoice, Plan, can_resume, is_built, make_plan

QUIET = {"show_progress": False}
EDGE = IndexChoice("qdrant", {"m": 8, "quantization": "scalar"})


def qdrant_plan(**more) -> Plan:
    vectors, weights = CheapVectors(), CheapWeights()
    legs = {
        "dense": Leg("qdrant", vectors.identity, {"dimension": 32, "m": 8, **more}),
        "sparse": Leg("qdrant", weights.identity, more),
    }
    return Plan(legs, {"dense": vectors, "sparse": weights}, {"sparse": WORDS}, {"part": "number"})


def plain_plan() -> Plan:
    plan = qdrant_plan()
    legs = {
        "dense": replace(plan.legs["dense"], backend="faiss", parameters={"dimension": 32}),
        "sparse": replace(plan.legs["sparse"], backend="impact"),
    }
    return replace(plan, legs=legs)


def stopped_after(count, corpus):
    for number, document in enumerate(corpus):
        if number == count:
            raise KeyboardInterrupt
        yield document


def parted(count, version=0):
    return [replace(d, metadata={"part": int(d.doc_id[1:]) % 50}) for d in documents(count, version, 1)]


@pytest.mark.parametrize("where", ["edge", pytest.param("server", marks=pytest.mark.qdrant_server)])
def test_both_legs_in_qdrant_from_the_start_are_resumed_filtered_updated_and_compacted(tmp_path, where):
    path, corpus = tmp_path / "c", parted(1100)
    more = {}
    if where == "server":
        if not os.environ.get("QDRANT_URL"):
            pytest.skip("QDRANT_URL names no server")
        more = {"server": {"url": os.environ["QDRANT_URL"]}}
    with pytest.raises(KeyboardInterrupt):
        build_legs(stopped_after(900, corpus), path, qdrant_plan(**more), **QUIET)
    report = build_legs(corpus, path, qdrant_plan(**more), **QUIET)
    assert (report.documents, report.unchanged) == (1100, 512)
    changed = {document.doc_id: document for document in parted(1100, version=1)[:40]}
    update_collection(changed.values(), path, encoders=qdrant_plan().encoders, **QUIET)
    present = [changed.get(document.doc_id, document) for document in corpus]
    build_legs(present, tmp_path / "again", plain_plan(), **QUIET)

    with CollectionWriter.open(path) as collection:
        collection.compact()
    assert verify(path) == []
    with Collection.open(path) as ours, Collection.open(tmp_path / "again") as theirs:
        for name, encoder in qdrant_plan().encoders.items():
            assert isinstance(ours.index(name), QdrantIndex)
            assert len(ours.index(name)) == 1100
            asked = encoder.encode_document([document.text for document in corpus[700:705]])
            found = ours.index(name).search(asked, 10, {"part": [3, 4]})
            assert found.counts.tolist() == [10] * 5
            exact = theirs.index(name).search(asked, 10, {"part": [3, 4]})
            if name == "dense":
                np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-4)
            else:
                np.testing.assert_allclose(found.scores * 10_000, exact.scores, rtol=0.02)


def test_a_collection_is_built_into_qdrant_and_searched_like_any(tmp_path, corpus, minilm, tiny_splade):
    wanted = {"dense": minilm, "sparse": tiny_splade, "dense_index": EDGE, "sparse_index": "qdrant"}
    build_collection(corpus, tmp_path / "c", **wanted, **QUIET)
    build_collection(corpus, tmp_path / "plain", dense=minilm, sparse=tiny_splade, **QUIET)
    with Collection.open(tmp_path / "c") as collection:
        assert {name: leg.backend for name, leg in collection.manifest.legs.items()} == {
            "bm25": "bm25",
            "dense": "qdrant",
            "sparse": "qdrant",
        }
        assert collection.leg("dense").parameters["m"] == 8
    for legs in (["dense"], ["sparse"], ["bm25", "dense", "sparse"]):
        answers = []
        for path in ("c", "plain"):
            with SearchPipeline.open(tmp_path / path, legs=legs, dense=minilm, sparse=tiny_splade) as pipeline:
                answers.append(pipeline.search("baking with flour and an oven", k=3)[0].doc_id)
        assert answers[0] == answers[1]


def test_what_is_asked_for_must_be_there_and_what_is_left_open_may_be_anything(tmp_path, minilm):
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"_id": "1", "text": "one"}\n')
    build_collection(read_corpus(file), tmp_path / "c", dense=minilm, dense_index=EDGE, **QUIET)

    def built(index):
        return is_built(tmp_path / "c", read_corpus(file), dense=minilm, dense_index=index)

    assert built(EDGE)
    assert built("qdrant")
    assert not built("flat")
    assert not built(IndexChoice("qdrant", {"m": 9}))
    assert not is_built(tmp_path / "c", read_corpus(file), bm25_parameters={"k1": 1.2})


def test_a_stopped_build_resumes_only_with_the_same_parameters_and_the_server_that_was_named():
    begun = qdrant_plan(server={"url": "http://q:6333", "collection": "c-dense-0", "grpc": True}).legs
    assert can_resume(begun, qdrant_plan(server={"url": "http://q:6333", "grpc": True}))
    assert not can_resume(begun, qdrant_plan(server={"url": "http://other:6333"}))
    assert not can_resume(begun, qdrant_plan())
    assert not can_resume(qdrant_plan(ef_search=9).legs, qdrant_plan())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dense_index": IndexChoice("qdrant", {"nlist": 8})}, "has no parameter 'nlist': it has ef_construction"),
        (
            {"dense_index": IndexChoice("faiss", {"m": 8})},
            "faiss with kind flat, which has no parameter 'm': it has kind",
        ),
        ({"dense_index": IndexChoice("impact")}, "its rows fit 'faiss' or 'qdrant'"),
        ({"dense_index": IndexChoice("faiss", {"kind": "hnsw", "metric": "dot"})}, "metric is the encoder's"),
        ({"bm25_parameters": {"m": 8}}, "it has analyzer, b, k1, mu, positions, similarity, smoothing, weights"),
    ],
)
def test_a_parameter_that_an_index_does_not_have_is_refused(minilm, options, says):
    with pytest.raises(InputError, match=says):
        make_plan(dense=minilm, **options)


def test_an_estimate_asks_no_server(tmp_path):
    plan = qdrant_plan(server={"url": "http://127.0.0.1:9", "grpc": False})
    assert estimate_build(parted(600), plan, **QUIET).documents == 600
