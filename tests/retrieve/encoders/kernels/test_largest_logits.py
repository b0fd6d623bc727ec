import pytest
import torch

from retrieve.encoders.kernels import largest_logits as module
from retrieve.encoders.kernels.largest_logits import largest_logits

LENGTHS = [[3, 3, 5], [4], [1, 1, 1], [2, 0, 2]]


def plain(hidden: torch.Tensor, weight: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Compute the maximum of all logits, with torch's gradient."""
    texts = (hidden @ weight.T).split(lengths)
    return torch.stack([text.max(dim=0).values if len(text) else torch.zeros(len(weight)) for text in texts])


def make(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(sum(lengths))
    return torch.randn(sum(lengths), 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("max_logits", [1, 30, 1 << 24])
@pytest.mark.parametrize("lowered_by", [-100.0, 1.0, 100.0])
@pytest.mark.parametrize("blocks", ["_equal_length_blocks", "_padded_blocks"])
def test_values_and_gradients_are_those_of_the_full_product(
    lengths: list[int], max_logits: int, lowered_by: float, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_MAX_LOGITS", "_MAX_LOGITS_GPU"):
        monkeypatch.setattr(module, limit, max_logits)
    monkeypatch.setattr(module, "logit_blocks", getattr(module, blocks))
    hidden, weight = make(lengths)
    found, expected = largest_logits(hidden, weight, lengths), plain(hidden, weight, lengths)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(largest_logits(hidden, weight, lengths), expected)
    # As in SPLADE, most terms are below zero, where they have no gradient.
    ours, theirs = (
        torch.autograd.grad((values - lowered_by).relu().log1p().pow(2).sum(), (hidden, weight))
        for values in (found, expected)
    )
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("blocks", ["_equal_length_blocks", "_padded_blocks"])
@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_token_gives_zeros(lengths: list[int], blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "logit_blocks", getattr(module, blocks))
    hidden, weight = torch.empty(0, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
    found = largest_logits(hidden, weight, lengths)
    assert found.tolist() == [[0.0] * 40] * len(lengths)
    found.sum().backward()
    assert weight.grad is not None and not weight.grad.any()


def test_only_tensors_that_require_a_gradient_get_one() -> None:
    hidden, weight = make([3, 2])
    alone = largest_logits(hidden.detach(), weight, [3, 2])
    alone.sum().backward()
    assert weight.grad is not None and hidden.grad is None
    largest_logits(hidden, weight.detach(), [3, 2]).sum().backward()
    assert hidden.grad is not None


def test_a_product_in_bfloat16_keeps_gradients_in_float32() -> None:
    hidden, weight = make([30, 30])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = largest_logits(hidden, weight, [30, 30])
    assert found.dtype == torch.float32
    (found.relu()).sum().backward()
    exact, other = (tensor.detach().clone().requires_grad_() for tensor in (hidden, weight))
    plain(exact, other, [30, 30]).relu().sum().backward()
    assert weight.grad is not None and other.grad is not None and weight.grad.dtype == torch.float32
    # Where two tokens are equal in bfloat16, another one may be the largest; most are the same.
    assert float((weight.grad - other.grad).norm() / other.grad.norm()) < 0.2
