"""Losses over cross-encoder scores give sentence-transformers' values and gradients."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses as theirs
from torch import Tensor, nn

from pipelines.training.losses import cross as ours

QUERIES = ["q0", "q1", "q2", "q3"]


class Scores:
    """Logits of pairs, shared by both implementations."""

    def __init__(self, labels: int = 1) -> None:
        self.labels, self.known = labels, dict[tuple[str, str], Tensor]()

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        found = []
        for query, document in pairs:
            if (query, document) not in self.known:
                seed = torch.Generator().manual_seed(sum(map(ord, query + "|" + document)) * 31 + len(document))
                self.known[query, document] = torch.randn(self.labels, generator=seed).requires_grad_()
            found.append(self.known[query, document])
        return torch.stack(found)

    def gradients(self, loss: Tensor) -> dict[tuple[str, str], Tensor]:
        for logits in self.known.values():
            logits.grad = None
        loss.backward()
        zero = torch.zeros(self.labels)
        return {pair: zero if (g := logits.grad) is None else g.clone() for pair, logits in self.known.items()}


class Mine:
    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def __call__(self, pairs: Any) -> Tensor:
        return self._scores(pairs)


class Theirs(CrossEncoder):
    """The part of the reference CrossEncoder that its losses use."""

    def __init__(self, scores: Scores) -> None:
        nn.Module.__init__(self)
        self._scores = scores

    num_labels = property(lambda self: self._scores.labels)
    device = property(lambda self: torch.device("cpu"))

    def preprocess(self, pairs: Any, **options: Any) -> Any:
        return {"pairs": [tuple(pair) for pair in pairs]}

    def forward(self, features: Any) -> Any:
        return {"scores": self._scores(features["pairs"])}


def assert_equal(mine: Any, reference: Any, columns: list[Any], labels: Any, scores: Scores) -> None:
    def once(loss: Any) -> tuple[float, dict[tuple[str, str], Tensor]]:
        torch.manual_seed(7)
        value = loss([list(column) for column in columns], labels)
        return float(value.detach()), scores.gradients(value)

    value, gradients = once(mine)
    expected, wanted = once(reference)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for pair, gradient in wanted.items():
        torch.testing.assert_close(gradients[pair], gradient, rtol=1e-4, atol=1e-6)


def texts(prefix: str) -> list[str]:
    return [f"{prefix} {number}" for number in range(len(QUERIES))]


@pytest.mark.parametrize("pos_weight", [None, 5.0])
def test_binary_cross_entropy(pos_weight: float | None) -> None:
    scores = Scores()
    reference = theirs.BinaryCrossEntropyLoss(
        Theirs(scores), pos_weight=None if pos_weight is None else torch.tensor(pos_weight)
    )
    mine = ours.BinaryCrossEntropyLoss(Mine(scores), pos_weight=pos_weight)
    assert_equal(mine, reference, [QUERIES, texts("document")], torch.tensor([1, 0, 0.3, 1]), scores)


def test_mse() -> None:
    scores = Scores()
    labels = torch.tensor([1, 0, 0.3, -2])
    assert_equal(ours.MSELoss(Mine(scores)), theirs.MSELoss(Theirs(scores)), [QUERIES, texts("d")], labels, scores)


@pytest.mark.parametrize("labels", [torch.tensor([0, 2, 1, 1]), torch.tensor([[0], [2], [1], [1]]), torch.rand(4, 3)])
def test_cross_entropy(labels: Tensor) -> None:
    scores = Scores(3)
    mine, reference = ours.CrossEntropyLoss(Mine(scores)), theirs.CrossEntropyLoss(Theirs(scores))
    assert_equal(mine, reference, [QUERIES, texts("d")], labels, scores)


@pytest.mark.parametrize(
    ("negatives", "labels"),
    [(1, torch.randn(4)), (1, torch.randn(4, 2)), (3, torch.randn(4, 3)), (3, [torch.randn(4) for _ in QUERIES])],
)
def test_margin_mse(negatives: int, labels: Any) -> None:
    scores = Scores()
    columns = [QUERIES, texts("positive"), *(texts(f"negative {n}") for n in range(negatives))]
    assert_equal(ours.MarginMSELoss(Mine(scores)), theirs.MarginMSELoss(Theirs(scores)), columns, labels, scores)


@pytest.mark.parametrize("hard", [0, 2])
@pytest.mark.parametrize("options", [{}, {"num_negatives": None}, {"num_negatives": 2, "scale": 3.0}])
@pytest.mark.parametrize("name", ["MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss"])
def test_multiple_negatives_ranking(name: str, hard: int, options: dict[str, Any]) -> None:
    scores = Scores()
    columns = [QUERIES, texts("positive"), *(texts(f"negative {n}") for n in range(hard))]
    more = {"mini_batch_size": 3} if name.startswith("Cached") else {}
    mine = getattr(ours, name)(Mine(scores), **options, **more)
    assert_equal(mine, getattr(theirs, name)(Theirs(scores), **options, **more), columns, None, scores)


RAGGED = [["a", "b", "c"], ["d"], ["e", "f", "g", "h", "i"], ["j", "k"]]
LABELS = {
    "graded": [[3, 0, 1], [1], [0, 2, 1, 2, 0], [0, 1]],
    "binary": [[1, 0, 0], [1], [0, 1, 1, 0, 0], [1, 0]],
    "none relevant": [[0, 0, 0], [0], [0, 0, 0, 0, 0], [0, 0]],
    "real": [[0.3, -1.5, 0.1], [0.2], [0.9, 0.8, 0.1, 0.4, 0.4], [-2.0, -3.0]],
}
LISTWISE = {
    "ListNet": (ours.ListNetLoss, theirs.ListNetLoss, [{}]),
    "ListMLE": (ours.ListMLELoss, theirs.ListMLELoss, [{}, {"respect_input_order": False}]),
    "PListMLE": (ours.PListMLELoss, theirs.PListMLELoss, [{}, {"respect_input_order": False}]),
    "ADRMSE": (ours.ADRMSELoss, theirs.ADRMSELoss, [{}, {"alpha": 2.5}]),
    "RankNet": (ours.RankNetLoss, theirs.RankNetLoss, [{}, {"k": 2, "sigma": 0.5, "reduction_log": "natural"}]),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", LISTWISE)
def test_listwise(name: str, labels: str) -> None:
    mine, reference, all_options = LISTWISE[name]
    given = [torch.tensor(of_one) for of_one in LABELS[labels]]
    for options in all_options:
        scores, truth = Scores(), given
        if options.get("respect_input_order") is False:
            # The reference sort does not define the order of equal labels.
            truth = [of_one + torch.arange(len(of_one)) * 1e-3 for of_one in given]
        loss, other = mine(Mine(scores), **options), reference(Theirs(scores), **options)
        assert_equal(loss, other, [QUERIES, RAGGED], truth, scores)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize(
    ("weighting", "scheme"),
    [
        ("none", theirs.NoWeightingScheme),
        ("ndcg1", theirs.NDCGLoss1Scheme),
        ("ndcg2", theirs.NDCGLoss2Scheme),
        ("lambda_rank", theirs.LambdaRankScheme),
        ("ndcg2++", theirs.NDCGLoss2PPScheme),
    ],
)
def test_lambda_loss(weighting: Any, scheme: Any, k: int | None, labels: str) -> None:
    scores = Scores()
    given = [torch.tensor(of_one) for of_one in LABELS[labels]]
    mine, reference = ours.LambdaLoss(Mine(scores), weighting, k), theirs.LambdaLoss(Theirs(scores), scheme(), k)
    assert_equal(mine, reference, [QUERIES, RAGGED], given, scores)
