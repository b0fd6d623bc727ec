import numpy as np
import pytest
import torch

from pipelines.exact_search.top_k import GROUP, highest, room_for_scores


@pytest.mark.parametrize("columns", [1, 5, 16 * 40, 16 * 40 + 3, 5000])
@pytest.mark.parametrize("k", [1, 7, 101])
@pytest.mark.parametrize("kind", ["different", "ties", "constant", "infinite"])
def test_the_values_are_those_of_torch(columns: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(columns + k)
    numbers = rng.standard_normal((4, columns), dtype=np.float32)
    if kind == "ties":
        numbers = np.round(numbers)
    if kind == "constant":
        numbers[:] = 0.5
    if kind == "infinite":
        numbers[rng.random(numbers.shape) < 0.3] = -np.inf
    scores, k = torch.from_numpy(numbers), min(k, columns)
    values, places = highest(scores, k)
    assert torch.equal(values, torch.topk(scores, k, dim=1).values)
    assert torch.equal(scores.gather(1, places), values)
    assert all(len(set(row)) == k for row in places.tolist()), "no column twice"


def test_the_grouped_way_is_the_one_that_is_tested() -> None:
    assert 5000 // GROUP >= 4 * 7 and 16 * 40 // GROUP >= 4 * 7


def test_room_is_used_in_place() -> None:
    room = room_for_scores(3, 4)
    assert room.shape == (3, 4) and room.dtype == torch.float32
    torch.mm(torch.ones(3, 2), torch.ones(2, 4), out=room)
    assert bool((room == 2).all())
