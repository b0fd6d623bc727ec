"""Losses without labels, regularizers and distillation give sentence-transformers' values and gradients."""

from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as theirs_dense
from sentence_transformers.sparse_encoder import losses as theirs_sparse
from torch import nn

from checkpoints import write_bert
from indexing.errors import InputError
from pipelines.training import losses as ours
from pipelines.training.unlabelled import damaged, tension_pairs
from retrieve import DenseEncoder

ROWS, WIDTH = 12, 16
TEXTS = ["water and fire", "fire", "heat light water", "earth and light"]


class Table(nn.Module):
    """Model whose features of a column are its vectors."""

    dimension, device = WIDTH, "cpu"

    def get_embedding_dimension(self) -> int:
        return WIDTH

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return features | {"sentence_embedding": features["vectors"]}


MODEL = Table()


def columns(count: int) -> list[torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    return [torch.randn(ROWS, WIDTH, generator=numbers).requires_grad_() for _ in range(count)]


def assert_same(mine: Any, reference: Any, inputs: list[torch.Tensor]) -> None:
    if isinstance(mine, dict):
        assert mine.keys() == reference.keys()
        mine, reference = sum(mine.values()), sum(reference.values())
    torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-6)
    found, wanted = torch.autograd.grad(mine, inputs), torch.autograd.grad(reference, inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [(True, True, False), (True, True, True), (False, True, False)])
def test_softmax(parts: tuple[bool, bool, bool]) -> None:
    mine = ours.SoftmaxLoss(MODEL, WIDTH, 3, *parts)
    reference = theirs_dense.SoftmaxLoss(MODEL, WIDTH, 3, *parts)
    reference.classifier = mine.classifier
    inputs, labels = columns(2), torch.arange(ROWS) % 3
    features = [{"vectors": column} for column in inputs]
    weights = [*inputs, mine.classifier.weight]
    assert_same(mine(features, labels), reference(features, labels), weights)


def test_softmax_refuses_labels_beyond_its_classes() -> None:
    with pytest.raises(InputError, match="num_labels=2, and the data labels from 0 to 2"):
        ours.SoftmaxLoss(MODEL, num_labels=2).loss_from_embeddings(columns(2), torch.arange(ROWS) % 3)
    with pytest.raises(InputError, match="set num_labels"):
        ours.SoftmaxLoss(MODEL)


def test_mega_batch_margin() -> None:
    inputs = columns(2)
    reference = theirs_dense.MegaBatchMarginLoss(MODEL, use_mini_batched_version=False)
    expected = reference.calculate_loss([[column] for column in inputs])
    whole = ours.MegaBatchMarginLoss(MODEL, use_mini_batched_version=False)
    assert_same(whole([{"vectors": column} for column in inputs]), expected, inputs)
    assert_same(
        sum(ours.MegaBatchMarginLoss(MODEL).parts(inputs, None, 5)),
        reference.calculate_loss([[column] for column in inputs]),
        inputs,
    )


def test_mega_batch_margin_in_mini_batches_has_the_gradients_of_the_whole_batch(tiny_dense: Any) -> None:
    encoder = DenseEncoder(tiny_dense.checkpoint.folder, dtype="float32")
    gradients = []
    for mini_batches in (True, False):
        loss = ours.MegaBatchMarginLoss(encoder, use_mini_batched_version=mini_batches, mini_batch_size=2).eval()
        features = [loss.model.column(loss.model.tokenize(texts), *_all(texts)) for texts in (TEXTS, TEXTS[::-1])]
        encoder.network.zero_grad()
        loss(features).backward()
        gradients.append([weight.grad.clone() for weight in encoder.network.parameters() if weight.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"aggregation": "sum", "mean_weight": 0.5}, {"second_moment_weight": None}])
def test_global_orthogonal_regularization(options: dict[str, Any]) -> None:
    inputs = columns(2)
    mine = ours.GlobalOrthogonalRegularizationLoss(MODEL, **options).loss_from_embeddings(inputs)
    reference = theirs_dense.GlobalOrthogonalRegularizationLoss(MODEL, **options)
    assert_same(mine, reference.compute_loss_from_embeddings(inputs), inputs)


@pytest.mark.parametrize("metric", ["cosine", "l2", "mse"])
@pytest.mark.parametrize("width", [None, 24])
@pytest.mark.parametrize("per_column", [False, True])
def test_embed_distill(metric: Any, width: int | None, per_column: bool) -> None:
    mine, reference = ours.EmbedDistillLoss(MODEL, metric, width), theirs_dense.EmbedDistillLoss(MODEL, metric, width)
    reference.projection = mine.projection
    labels = torch.randn(ROWS, *([2] if per_column else []), width or WIDTH)
    inputs = columns(2)
    features = [{"vectors": column} for column in inputs]
    assert_same(mine(features, labels), reference(features, labels), inputs)


def test_a_projection_is_written_for_sentence_transformers_and_read_back(tmp_path: Any) -> None:
    mine, reference = ours.EmbedDistillLoss(MODEL, projection_dim=24), theirs_dense.EmbedDistillLoss(MODEL)
    mine.save_projection(tmp_path / "mine.safetensors")
    reference.load_projection(tmp_path / "mine.safetensors")
    reference.save_projection(tmp_path / "theirs.safetensors")
    again = ours.EmbedDistillLoss(MODEL, projection_dim=24)
    again.load_projection(tmp_path / "theirs.safetensors")
    assert torch.equal(again.projection.weight, mine.projection.weight)
    with pytest.raises(InputError, match="does not fit this loss, which has none"):
        ours.EmbedDistillLoss(MODEL).load_projection(tmp_path / "theirs.safetensors")


@pytest.mark.parametrize("threshold", [None, 2])
def test_flops(threshold: int | None) -> None:
    inputs = [torch.relu(columns(1)[0].detach()).requires_grad_()]
    mine = ours.FlopsLoss(MODEL, threshold).loss_from_embeddings(inputs)
    assert_same(mine, theirs_sparse.FlopsLoss(MODEL, threshold).compute_loss_from_embeddings(inputs[0]), inputs)


def test_csr_reconstruction() -> None:
    names = ("sentence_embedding_backbone", "decoded_embedding_k", "decoded_embedding_4k", "decoded_embedding_aux")
    inputs = columns(5)
    outputs = [dict(zip((*names, "decoded_embedding_k_pre_bias"), inputs, strict=True))]
    mine = ours.CSRReconstructionLoss(MODEL).loss_from_embeddings(outputs)
    reference = theirs_sparse.CSRReconstructionLoss(MODEL).compute_loss_from_embeddings(outputs)
    assert_same(mine, reference, inputs[:4])


@pytest.mark.parametrize("labels", [None, torch.tensor([1, 0, 0, 1])])
@pytest.mark.parametrize("name", ["ContrastiveTensionLoss", "ContrastiveTensionLossInBatchNegatives"])
def test_contrastive_tension(bert: str, name: str, labels: Any) -> None:
    mine, reference = (
        getattr(ours, name)(DenseEncoder(bert, dtype="float32")),
        getattr(theirs_dense, name)(theirs(bert)),
    )
    assert_same_gradients(mine, reference, [TEXTS, [TEXTS[0], *TEXTS[2:], TEXTS[3]]], labels)


def test_denoising_autoencoder(bert: str) -> None:
    encoder = DenseEncoder(bert, dtype="float32")
    mine, reference = ours.DenoisingAutoEncoderLoss(encoder), theirs_dense.DenoisingAutoEncoderLoss(theirs(bert))
    own = dict(mine.decoder.named_parameters())
    for name, weight in reference.decoder.named_parameters():
        own[name].data.copy_(weight.data)  # Both draw the weights of the cross-attention.
    assert_same_gradients(mine, reference, [TEXTS, TEXTS[::-1]], None)
    names = [name for name, weight in encoder.network.named_parameters() if weight.grad is not None]
    assert any("word_embeddings" in name for name in names)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: Any) -> str:
    """A dense checkpoint in the layout of sentence-transformers."""
    folder = tmp_path_factory.mktemp("losses")
    DenseEncoder(write_bert(folder / "bert"), dtype="float32").save(folder / "dense")
    return str(folder / "dense")


def theirs(path: str) -> SentenceTransformer:
    return SentenceTransformer(path, device="cpu")


def _all(texts: list[str]) -> tuple[Any, list[str], None]:
    return torch.arange(len(texts)).numpy(), texts, None


def assert_same_gradients(mine: Any, reference: Any, texts: list[list[str]], labels: Any) -> None:
    """Compare the value of a loss of tokens, and the gradient of each of the encoder's weights."""
    mine.eval()
    reference.eval()
    their_model = next(m for m in reference.modules() if isinstance(m, SentenceTransformer))
    their_model = getattr(reference, "model2", their_model)
    found = mine([mine.model.column(mine.model.tokenize(column), *_all(column)) for column in texts], labels)
    expected = reference([their_model.preprocess(column) for column in texts], labels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.backward()
    expected.backward()
    wanted = {name.split(".model.", 1)[-1]: w.grad for name, w in their_model.named_parameters()}
    compared = 0
    for name, weight in mine.model.network.named_parameters():
        gradient = wanted[name.split(".model.", 1)[-1]]
        if gradient is not None:
            torch.testing.assert_close(weight.grad, gradient, rtol=1e-3, atol=1e-5)
            compared += 1
    assert compared > 10


def test_rows_without_labels_are_made_of_texts() -> None:
    rows = list(damaged(["one two three four five six", ""], ratio=0.5, seed=1))
    assert rows[0]["text"].startswith("one two") and set(rows[0]["damaged"].split()) < set(rows[0]["text"].split())
    assert rows[1] == {"damaged": "", "text": ""}
    pairs = list(tension_pairs([str(number) for number in range(30)], pos_neg_ratio=4))
    assert [pair["label"] for pair in pairs[:8]] == [1, 0, 0, 0] * 2
    assert all((pair["first"] == pair["second"]) == bool(pair["label"]) for pair in pairs)
