"""Losses over embeddings give sentence-transformers' values and gradients."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs_dense
from sentence_transformers.sentence_transformer.losses.contrastive import SiameseDistanceMetric
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from sentence_transformers.sparse_encoder import losses as theirs_sparse
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, pairwise_dot_score
from torch import Tensor, nn

from checkpoints import write_bert
from pipelines.training import losses as ours

ROWS, WIDTH = 12, 16


class Table(nn.Module):
    """Model whose features of a column are its vectors."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return features | {"sentence_embedding": features["vectors"]}


def columns(count: int, seed: int = 0, *, rows: int = ROWS, duplicates: bool = True) -> list[Tensor]:
    random_numbers = torch.Generator().manual_seed(seed)
    found = [torch.randn(rows, WIDTH, generator=random_numbers) for _ in range(count)]
    if duplicates:
        found[0][1] = found[0][0]
    return [column.requires_grad_() for column in found]


def value_and_gradients(loss: Any, embeddings: list[Tensor], labels: Any) -> tuple[float, list[Tensor]]:
    total = sum(loss.values()) if isinstance(loss, dict) else loss
    gradients = torch.autograd.grad(total, embeddings, allow_unused=True)
    return float(total.detach()), [torch.zeros(ROWS, WIDTH) if g is None else g for g in gradients]


def assert_equal(mine: Any, reference: Any, count: int, labels: Any = None, **options: Any) -> None:
    embeddings = columns(count, **options)
    value, gradients = value_and_gradients(mine.loss_from_embeddings(embeddings, labels), embeddings, labels)
    expected, expected_gradients = value_and_gradients(
        reference.compute_loss_from_embeddings(embeddings, labels), embeddings, labels
    )
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


MODEL = Table()
BINARY = torch.arange(ROWS) % 2
REAL = torch.linspace(0, 1, ROWS)[torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))]
TIED = (REAL * 3).round() / 3


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
        {"directions": ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")},
        {"directions": ("query_to_doc", "doc_to_doc")},
        {"hardness_mode": "in_batch_negatives", "hardness_strength": 5.0},
        {"hardness_mode": "hard_negatives", "hardness_strength": 5.0},
        {"hardness_mode": "all_negatives", "hardness_strength": 5.0},
    ],
)
def test_multiple_negatives_ranking(count: int, options: dict[str, Any]) -> None:
    mine = ours.MultipleNegativesRankingLoss(MODEL, **options)
    assert_equal(mine, theirs_dense.MultipleNegativesRankingLoss(MODEL, **options), count)
    mine = ours.MultipleNegativesRankingLoss(MODEL, 1.0, "dot", **options)
    assert_equal(mine, theirs_sparse.SparseMultipleNegativesRankingLoss(MODEL, **options), count)


def test_symmetric_ranking() -> None:
    assert_equal(
        ours.MultipleNegativesSymmetricRankingLoss(MODEL), theirs_dense.MultipleNegativesSymmetricRankingLoss(MODEL), 2
    )


@pytest.mark.parametrize("labels", [REAL, TIED, BINARY, BINARY.bool(), torch.ones(ROWS)])
@pytest.mark.parametrize("name", ["CoSENTLoss", "AnglELoss"])
def test_cosent_and_angle(name: str, labels: Tensor) -> None:
    assert_equal(getattr(ours, name)(MODEL), getattr(theirs_dense, name)(MODEL), 2, labels)


@pytest.mark.parametrize("labels", [None, BINARY.float()])
def test_angle_with_negatives(labels: Tensor | None) -> None:
    assert_equal(ours.AnglELoss(MODEL), theirs_dense.AnglELoss(MODEL), 4, labels)


def test_cosine_similarity() -> None:
    assert_equal(ours.CosineSimilarityLoss(MODEL), theirs_dense.CosineSimilarityLoss(MODEL), 2, REAL)


@pytest.mark.parametrize(
    ("distance", "metric"),
    [
        ("cosine", SiameseDistanceMetric.COSINE_DISTANCE),
        ("euclidean", SiameseDistanceMetric.EUCLIDEAN),
        ("manhattan", SiameseDistanceMetric.MANHATTAN),
    ],
)
@pytest.mark.parametrize("labels", [BINARY, torch.ones(ROWS), torch.zeros(ROWS)])
def test_contrastive(distance: Any, metric: Any, labels: Tensor) -> None:
    # The reference uses torch's pairwise_distance, which adds 1e-6 to each difference.
    assert_equal(
        ours.ContrastiveLoss(MODEL, distance, 7.0), theirs_dense.ContrastiveLoss(MODEL, metric, 7.0), 2, labels
    )
    assert_equal(
        ours.OnlineContrastiveLoss(MODEL, distance), theirs_dense.OnlineContrastiveLoss(MODEL, metric), 2, labels
    )


@pytest.mark.parametrize(
    ("distance", "metric"),
    [
        ("cosine", TripletDistanceMetric.COSINE),
        ("euclidean", TripletDistanceMetric.EUCLIDEAN),
        ("manhattan", TripletDistanceMetric.MANHATTAN),
    ],
)
def test_triplet(distance: Any, metric: Any) -> None:
    assert_equal(ours.TripletLoss(MODEL, distance), theirs_dense.TripletLoss(MODEL, metric), 3)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("classes", [3, 1, ROWS])
@pytest.mark.parametrize(
    "name",
    ["BatchAllTripletLoss", "BatchHardTripletLoss", "BatchHardSoftMarginTripletLoss", "BatchSemiHardTripletLoss"],
)
def test_batch_triplets(name: str, classes: int, distance: Any) -> None:
    functions = theirs_dense.BatchHardTripletLossDistanceFunction
    metric = functions.cosine_distance if distance == "cosine" else functions.euclidean_distance
    labels = torch.arange(ROWS) % classes
    assert_equal(
        getattr(ours, name)(MODEL, distance), getattr(theirs_dense, name)(MODEL, metric), 1, labels, duplicates=False
    )


@pytest.mark.parametrize(("similarity", "function"), [("dot", pairwise_dot_score), ("cosine", pairwise_cos_sim)])
@pytest.mark.parametrize(
    ("count", "labels"),
    [(3, REAL), (3, torch.stack((REAL, TIED), dim=1)), (5, torch.rand(ROWS, 3)), (5, torch.rand(ROWS, 4))],
)
def test_margin_mse(count: int, labels: Tensor, similarity: Any, function: Any) -> None:
    mine = ours.MarginMSELoss(MODEL, similarity)
    assert_equal(mine, theirs_dense.MarginMSELoss(MODEL, function), count, labels)


@pytest.mark.parametrize(
    "temperatures", [{}, {"temperature": 2.0}, {"student_temperature": 0.5, "teacher_temperature": 3.0}]
)
def test_distill_kl_div(temperatures: dict[str, float]) -> None:
    mine = ours.DistillKLDivLoss(MODEL, **temperatures)
    assert_equal(mine, theirs_dense.DistillKLDivLoss(MODEL, **temperatures), 4, torch.randn(ROWS, 3))


@pytest.mark.parametrize("labels", [torch.randn(ROWS, WIDTH), torch.randn(ROWS, 2, WIDTH)])
def test_mse(labels: Tensor) -> None:
    embeddings = columns(2)
    features = [{"vectors": column} for column in embeddings]
    mine, gradients = value_and_gradients(ours.MSELoss(MODEL)(features, labels), embeddings, labels)
    reference = theirs_dense.MSELoss(MODEL)
    reference.model = MODEL
    teachers = [labels, labels] if labels.ndim == 2 else list(labels.unbind(1))
    expected, wanted = value_and_gradients(
        reference.compute_loss_from_embeddings(embeddings, teachers), embeddings, labels
    )
    assert mine == pytest.approx(expected, rel=1e-5)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_bert(tmp_path_factory.mktemp("tokenizer") / "bert"))


class Guide(nn.Module):
    """Model and guide whose vectors are both among the features of a column."""

    def __init__(self, tokenizer: Any, name: str, texts: dict[str, np.ndarray] | None = None) -> None:
        super().__init__()
        self.tokenizer, self.max_seq_length, self.name, self.texts = tokenizer, 32, name, texts or {}

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return features | {"sentence_embedding": features[self.name]}

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.stack([self.texts[text] for text in texts])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"margin_strategy": "relative", "margin": 0.05},
        {"margin": 0.2, "temperature": 0.1},
        {"contrast_anchors": False, "contrast_positives": False},
    ],
)
@pytest.mark.parametrize("count", [2, 3])
def test_gist(tokenizer: Any, count: int, options: dict[str, Any]) -> None:
    embeddings, guides = columns(count), [column.detach() for column in columns(count, seed=9)]
    texts = [[f"{column} {row}" for row in range(ROWS)] for column in range(count)]
    known = {text: guides[c][r].numpy() for c, of_one in enumerate(texts) for r, text in enumerate(of_one)}
    features = [{"vectors": e, "guide": g, "texts": t} for e, g, t in zip(embeddings, guides, texts, strict=True)]
    mine = ours.GISTEmbedLoss(MODEL, Guide(tokenizer, "guide", known), **options)
    reference = theirs_dense.GISTEmbedLoss(Guide(tokenizer, "vectors"), Guide(tokenizer, "guide"), **options)
    value, gradients = value_and_gradients(mine(features), embeddings, None)
    expected, wanted = value_and_gradients(reference([dict(f) for f in features], None), embeddings, None)
    assert value == pytest.approx(expected, rel=1e-5)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


class Reference(Table):
    def get_embedding_dimension(self) -> int:
        return WIDTH


@pytest.mark.parametrize("per_step", [-1, 2])
def test_matryoshka(per_step: int) -> None:
    model, dims, weights = Reference(), [16, 4, 8], [1.0, 0.3, 0.5]
    embeddings = columns(3)
    features = [{"vectors": column} for column in embeddings]
    mine = ours.MatryoshkaLoss(model, ours.MultipleNegativesRankingLoss(model), dims, weights, per_step)
    reference = theirs_dense.MatryoshkaLoss(
        model, theirs_dense.MultipleNegativesRankingLoss(model), dims, weights, per_step
    )
    random.seed(5)
    value, gradients = value_and_gradients(mine(features), embeddings, None)
    random.seed(5)
    expected, wanted = value_and_gradients(reference([dict(f) for f in features], None), embeddings, None)
    assert value == pytest.approx(expected, rel=1e-5)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"document_regularizer_weight": 3e-3, "query_regularizer_weight": 5e-3},
        {"document_regularizer_weight": 3e-3},
        {"document_regularizer_weight": 3e-3, "use_document_regularizer_only": True},
        {
            "document_regularizer_weight": 3e-3,
            "query_regularizer_weight": 5e-3,
            "document_regularizer_threshold": 8,
            "query_regularizer_threshold": 7,
        },
    ],
)
def test_splade(options: dict[str, Any]) -> None:
    embeddings = [column.detach().relu().requires_grad_() for column in columns(3)]
    features = [{"vectors": column} for column in embeddings]
    mine = ours.SpladeLoss(MODEL, ours.MultipleNegativesRankingLoss(MODEL, 1.0, "dot"), **options)
    reference = theirs_sparse.SpladeLoss(MODEL, theirs_sparse.SparseMultipleNegativesRankingLoss(MODEL), **options)
    found, expected = mine(features), reference([dict(f) for f in features])
    assert found.keys() == expected.keys()
    for name in found:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5), name
    _, gradients = value_and_gradients(found, embeddings, None)
    _, wanted = value_and_gradients(expected, embeddings, None)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


def test_sparse_autoencoder() -> None:
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    torch.manual_seed(0)
    module = SparseAutoEncoder(input_dim=WIDTH, hidden_dim=24, k=4, k_aux=6).train()
    rows = columns(2)

    class Model(nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return module({"sentence_embedding": features["vectors"]})

    model = Model()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    features = [{"vectors": column} for column in rows]
    found = ours.CSRLoss(model)(features)
    module.load_state_dict(state)
    expected = theirs_sparse.CSRLoss(model, theirs_sparse.SparseMultipleNegativesRankingLoss(model))(features)
    assert found.keys() == expected.keys()
    for name in found:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5, abs=1e-6), name


def test_the_similarities_are_theirs() -> None:
    from sentence_transformers.util import pairwise_angle_sim

    from pipelines.training.losses.similarity import all_pairs, angle, row_by_row

    a, b = (column.detach() for column in columns(2))
    torch.testing.assert_close(all_pairs("cosine", a, b), cos_sim(a, b))
    torch.testing.assert_close(all_pairs("dot", a, b), dot_score(a, b))
    torch.testing.assert_close(row_by_row("cosine", a, b), pairwise_cos_sim(a, b))
    torch.testing.assert_close(angle(a, b), pairwise_angle_sim(a, b))
