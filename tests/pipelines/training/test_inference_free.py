"""Training inference-free SPLADE encoders and sparse autoencoders from the command line."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from transformers import BertForMaskedLM

from checkpoints import WORDS, write_bert
from indexing.errors import InputError
from pipelines.cli import main
from pipelines.training.recipes.autoencoder import write_autoencoder
from pipelines.training.recipes.inference_free import inverse_document_frequencies, write_inference_free_encoder
from retrieve.encoders import DenseEncoder, SparseEncoder
from retrieve.encoders.batching import Tokens

SMALL = ["--max-steps", "6", "--batch-size", "4", "--checkpoints", "2", "--no-bf16"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw, path = random.Random(1), tmp_path_factory.mktemp("rows") / "rows.jsonl"
    texts = [[" ".join(draw.choices(WORDS, k=draw.randrange(3, 9))) for _ in range(3)] for _ in range(24)]
    lines = [dict(zip(("query", "positive", "negative"), row, strict=True)) for row in texts]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def trained(start: Path, rows: Path, output: Path, *options: str) -> tuple[SparseEncoder, TheirSparseEncoder]:
    command = ["train", "sparse", "--model", str(start), "--data", str(rows), "--output", str(output)]
    assert main([*command, *SMALL, *options]) == 0
    final = output / "final"
    return SparseEncoder(final, dtype="float32"), TheirSparseEncoder(str(final), device="cpu")


def the_same(mine: SparseEncoder, theirs: TheirSparseEncoder) -> None:
    texts = ["water heat", "the stock market price", "light light wave", ""]
    for name in ("encode_query", "encode_document"):
        expected = getattr(theirs, name)(texts).to_dense().numpy()
        np.testing.assert_allclose(getattr(mine, name)(texts).toarray(), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ["encoder", "masked language model"])
def test_queries_without_a_transformer(
    architecture: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = (BertForMaskedLM,) if architecture != "encoder" else ()
    start = write_bert(tmp_path / "bert", *kind)
    output = tmp_path / "sparse"
    mine, theirs = trained(
        start, rows, output, "--inference-free", "--eval-data", str(rows), "--lr", "1e-3", "--dropout", "0.1"
    )
    the_same(mine, theirs)

    before = SparseEncoder(output / "start", dtype="float32")
    (query, document), (was, was_document) = (
        (model.encode_query("water heat"), model.encode_document("water heat")) for model in (mine, before)
    )
    assert mine.decode(query)[0][0][0] in ("water", "heat") and query.nnz == was.nnz == 2
    assert abs(query - was).sum() > 1e-4, "the query weights are trained"
    assert abs(document - was_document).sum() > 1e-4, "and so is the document transformer"
    card = (output / "final" / "README.md").read_text("utf-8")
    assert '"document_regularizer_weight"' in card and "loss:SpladeLoss" in card

    # Further training recognizes the kind of model.
    again, _ = trained(output / "final", rows, tmp_path / "again")
    assert abs(again.encode_query("water heat") - query).sum() > 1e-4

    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "text": "water heat"}\n{"_id": "b", "text": "stock market price"}\n')
    index = ["index", str(corpus), "--to", str(tmp_path / "c"), "--no-dense", "--no-bm25"]
    assert main([*index, "--sparse", str(output / "final"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["search", str(tmp_path / "c"), "price of stock"]) == 0
    assert "b" in capsys.readouterr().out


def test_initial_query_weights_are_inverse_document_frequencies() -> None:
    tokens = Tokens(np.array([1, 1, 2, 1, 0], np.int32), np.array([0, 3, 4, 5]))
    expected = [np.log(1 + (3 - n + 0.5) / (n + 0.5)) for n in (1, 2, 1, 0)]
    np.testing.assert_allclose(inverse_document_frequencies(tokens, 4), expected, rtol=1e-6)


def test_a_vocabulary_padded_beyond_its_tokenizer(tmp_path: Path) -> None:
    start = write_bert(tmp_path / "mlm", BertForMaskedLM)
    model = BertForMaskedLM.from_pretrained(start)
    model.resize_token_embeddings(192)
    model.save_pretrained(start)
    folder = write_inference_free_encoder(SparseEncoder(start, dtype="float32"), ["water"], tmp_path / "start")
    the_same(SparseEncoder(folder, dtype="float32"), TheirSparseEncoder(str(folder), device="cpu"))


def test_a_sparse_autoencoder_of_a_dense_encoder(rows: Path, tmp_path: Path) -> None:
    bert = write_bert(tmp_path / "bert")
    mine, theirs = trained(bert, rows, tmp_path / "csr", "--loss", "csr", "--lr", "1e-3")
    the_same(mine, theirs)
    assert mine.dimension == 4 * 32 and mine.encode(["water heat"]).nnz <= 8
    assert mine.similarity_fn_name == "dot", "inverted indexes sum products of weights"
    card = (tmp_path / "csr" / "final" / "README.md").read_text("utf-8")
    assert "CSRLoss" in card and "2503.01776" in card and "CSR Sparse Encoder" in card
    again, _ = trained(tmp_path / "csr" / "final", rows, tmp_path / "again")
    assert "loss:CSRLoss" in (tmp_path / "again" / "final" / "README.md").read_text("utf-8")
    assert again.dimension == mine.dimension
    first, second = (write_autoencoder(DenseEncoder(bert, dtype="float32"), tmp_path / name, seed=3) for name in "ab")
    assert (first / "1_SparseAutoEncoder").is_dir() or any(first.glob("*_SparseAutoEncoder"))
    weights = [SparseEncoder(folder, dtype="float32").identity["weights_sha256"] for folder in (first, second)]
    assert weights[0] == weights[1]


def test_unsuitable_models_and_missing_texts_are_refused(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_bert(tmp_path / "mlm", BertForMaskedLM)
    command = ["train", "sparse", "--data", str(rows), "--output", str(tmp_path / "o"), *SMALL, "--model"]
    assert main([*command, str(folder), "--loss", "CSR"]) == 1
    assert "has none: choose another loss" in capsys.readouterr().err
    dense = DenseEncoder(write_bert(tmp_path / "bert"), dtype="float32")
    coder: Any = SparseEncoder(write_autoencoder(dense, tmp_path / "csr", seed=1), dtype="float32")
    with pytest.raises(InputError, match="query weights need one"):
        write_inference_free_encoder(coder, ["water"], tmp_path / "start")
    with pytest.raises(InputError, match="documents in which to count terms"):
        write_inference_free_encoder(SparseEncoder(folder, dtype="float32"), [], tmp_path / "start")
    assert torch.is_grad_enabled()
