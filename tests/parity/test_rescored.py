"""Binary indexes that rescore from kept rows find at least what sentence-transformers finds in binary embeddings."""

import numpy as np
import pytest
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

from indexing import Document
from indexing.indexes.faiss.index import FaissIndex
from pipelines import SearchPipeline, build_collection
from pipelines.build.plan import IndexChoice
from pipelines.cli import main


def vectors(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("graph", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kept", ["int8", "float32"])
def test_binary_search_with_rescoring(tmp_path, graph, kept):
    corpus, queries = vectors(600, 0), vectors(20, 1)
    exact = np.argsort(-(queries @ corpus.T), axis=1)[:, :10]
    theirs, _ = semantic_search_faiss(
        queries,
        quantize_embeddings(corpus, precision="ubinary"),
        corpus_precision="ubinary",
        top_k=10,
        rescore_multiplier=4,
        exact=not graph,
    )
    their_recall = np.mean(
        [len({hit["corpus_id"] for hit in row} & set(best)) / 10 for row, best in zip(theirs, exact, strict=True)]
    )
    options = {"kind": "binary", "graph": graph, "kept": kept, "training_sample": 500, "ef_construction": 40}
    with FaissIndex.create(tmp_path / "index", 64, **options) as index:
        index.upsert([str(at) for at in range(len(corpus))], corpus)
        hits = index.search(queries, 10)
    recall = np.mean(
        [len({int(i) for i in row.doc_ids} & set(best)) / 10 for row, best in zip(hits, exact, strict=True)]
    )
    assert recall >= their_recall
    np.testing.assert_allclose(hits[0].scores, corpus[[int(i) for i in hits[0].doc_ids]] @ queries[0], atol=0.01)
    with FaissIndex.open(tmp_path / "index", read_only=True) as again:
        assert again.search(queries, 10)[0].doc_ids == hits[0].doc_ids


@pytest.mark.parametrize("kind", ["binary", "int8"])
def test_a_collection_is_built_updated_and_searched_with_rescoring(minilm, tmp_path, kind, capsys):
    texts = ["bake bread with yeast", "sort a list of numbers", "streams of bytes between hosts", "the price of water"]
    choice = IndexChoice("faiss", {"kind": kind, "training_sample": 3, "rescore_multiplier": 4})
    documents = [Document(str(at), text, metadata={"even": at % 2 == 0}) for at, text in enumerate(texts)]
    build_collection(documents, tmp_path / "c", dense=minilm, dense_index=choice, show_progress=False)
    with SearchPipeline.open(tmp_path / "c", dense=minilm) as pipeline:
        assert [pipeline.search(text, k=1)[0].doc_id for text in texts] == ["0", "1", "2", "3"]
    assert main(["reindex", str(tmp_path / "c"), "--leg", "dense", "--dense-index", "binary", "--kept", "float32"]) == 0
    assert main(["delete", str(tmp_path / "c"), "--ids", "0"]) == 0
    with SearchPipeline.open(tmp_path / "c", dense=minilm) as pipeline:
        assert pipeline.search(texts[0], k=4)[0].doc_id != "0"
