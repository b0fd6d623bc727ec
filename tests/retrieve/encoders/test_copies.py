"""Encoders are copied and pickled with their weights; what holds files says that it cannot be."""

import copy
import pickle

import numpy as np
import pytest

from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection

TEXTS = ["bread bakes in an oven", "vaccines"]
COPIES = [copy.copy, copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_a_dense_encoder_encodes_alike(minilm, copied):
    other = copied(minilm)
    assert other.identity == minilm.identity
    assert np.array_equal(other.encode(TEXTS), minilm.encode(TEXTS))


@pytest.mark.parametrize("copied", COPIES)
def test_so_do_copies_of_a_sparse_encoder_and_a_cross_encoder(tiny_splade, tiny_cross_encoder, copied):
    assert (copied(tiny_splade).encode(TEXTS) != tiny_splade.encode(TEXTS)).nnz == 0
    pairs = [("bread", text) for text in TEXTS]
    assert np.array_equal(copied(tiny_cross_encoder).predict(pairs), tiny_cross_encoder.predict(pairs))


def test_a_deep_copy_has_weights_of_its_own(minilm):
    import torch

    other, before = copy.deepcopy(minilm), minilm.encode(TEXTS)
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.zero_()
    assert np.array_equal(minilm.encode(TEXTS), before)


@pytest.mark.parametrize("copied", COPIES)
def test_what_holds_files_or_threads_says_that_it_cannot_be_copied(corpus, minilm, tmp_path, copied):
    build_collection(corpus, tmp_path / "c", dense=minilm, show_progress=False)
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        for held in (pipeline, pipeline.retriever, pipeline.collection, pipeline.collection.documents):
            with pytest.raises(InputError, match=f"a {type(held).__name__} holds open files, threads or processes"):
                copied(held)


def test_a_leg_of_truncated_vectors_is_opened_with_its_encoder_truncated(corpus, minilm, minilm_path, tmp_path):
    truncated = minilm.truncated(128)
    assert truncated.encode(TEXTS).shape == (2, 128)
    assert minilm.encode(TEXTS).shape == (2, 384)
    build_collection(corpus, tmp_path / "c", dense=truncated, show_progress=False)

    for given in (None, minilm_path, truncated):
        with SearchPipeline.open(tmp_path / "c", legs=["dense"], dense=given) as pipeline:
            assert pipeline.search("how to bake", 1)[0].doc_id in ("bread", "cake")
    with pytest.raises(InputError, match="has 384 dimensions, fewer than 500"):
        minilm.truncated(500)


def test_token_vectors_of_a_truncated_encoder_are_opened_again(corpus, minilm, tmp_path):
    from retrieve.encoders.dense_tokens import DenseTokens

    truncated = minilm.truncated(64)
    assert truncated.truncate_dim == truncated.settings["truncate_dim"] == 64 and minilm.truncate_dim is None
    tokens = DenseTokens(truncated)
    build_collection(corpus, tmp_path / "c", dense=truncated, multi_vector=tokens, show_progress=False)
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        assert pipeline.search("how to bake", 1)[0].doc_id in ("bread", "cake")


def test_the_command_line_truncates_updates_and_reranks(tmp_path, capsys):
    import json

    from pipelines.cli import main

    file = tmp_path / "c.jsonl"
    file.write_text("".join(json.dumps({"_id": text, "text": text}) + "\n" for text in TEXTS))
    build = ["index", str(file), "--to", str(tmp_path / "c"), "--no-bm25", "--quiet"]
    assert main([*build, "--dense-dim", "64"]) == 0
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["legs"]["dense"]["parameters"]["dimension"] == 64
    assert main([*build, "--dense-dim", "64"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    file.write_text(file.read_text() + json.dumps({"_id": "new", "text": "iron and steel"}) + "\n")
    assert main([*build, "--update"]) == 0
    search = ["search", str(tmp_path / "c"), "steel", "-k", "1", "--json", "--reranker", "late-interaction"]
    capsys.readouterr()
    assert main(search) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["doc_id"] == "new"
    for wrong in (["--update", "--dense-dim", "8"], ["--no-dense", "--dense-dim", "8"]):
        assert main(["index", str(file), "--to", str(tmp_path / "d"), *wrong]) == 1
        assert "--dense-dim" in capsys.readouterr().err
