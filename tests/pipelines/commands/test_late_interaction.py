"""`retrieve index --late-interaction`: token vectors of a model of its own, or of the dense encoder."""

import json

import pytest
from late_interaction import write_colbert

from indexing.collection.manifest import read_manifest
from pipelines.cli import main
from pipelines.search import SearchPipeline
from retrieve.reranking.stored_tokens import StoredTokenReranker


@pytest.fixture
def corpus_file(tmp_path, corpus):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": d.doc_id, "title": d.title, "text": d.text}) + "\n" for d in corpus))
    return path


def test_a_late_interaction_model_is_a_leg(tmp_path, corpus_file, capsys):
    model = write_colbert(tmp_path / "colbert", document_length=30)
    build = ["index", str(corpus_file), "--to", str(tmp_path / "c"), "--no-dense", "--no-bm25", "--quiet"]
    build += ["--late-interaction", str(model)]
    assert main([*build, "--dry-run"]) == 0
    assert "tokens index" in capsys.readouterr().out
    assert main(build) == 0
    assert main(build) == 0
    assert "nothing to do" in capsys.readouterr().out
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        assert len(pipeline.search("bake bread", k=3)) == 3
    update = ["index", str(corpus_file), "--to", str(tmp_path / "c"), "--quiet", "--update"]
    assert main(update) == 0


def test_without_a_model_the_dense_encoder_stores_its_token_vectors(tmp_path, corpus_file, minilm_path, capsys):
    build = ["index", str(corpus_file), "--to", str(tmp_path / "c"), "--no-bm25", "--quiet", "--late-interaction"]
    assert main([*build, "--dense", minilm_path, "--dtype", "float32"]) == 0
    assert read_manifest(tmp_path / "c").legs["tokens"].encoder["kind"] == "dense-tokens"
    with SearchPipeline.open(tmp_path / "c", reranker="late-interaction") as pipeline:
        assert pipeline.retriever.name == "dense" and isinstance(pipeline.reranker, StoredTokenReranker)
        assert pipeline.search("how to bake bread", k=1)[0].doc_id == "bread"
    assert main([*build, "--no-dense"]) == 1
    assert "--late-interaction without a model" in capsys.readouterr().err
