from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieve.encoders.batching import MAX_PADDING, Tokens, fill_batches, interleave, plan_batches, round_widths

Lengths = st.lists(st.integers(0, 40), max_size=60).map(lambda lengths: np.array(lengths, dtype=np.int64))


def cost_of(batches: list[np.ndarray], lengths: np.ndarray, batch_cost: int) -> int:
    return sum(len(batch) * max(1, int(lengths[batch].max())) + batch_cost for batch in batches)


@given(lengths=Lengths, budget=st.integers(1, 200), max_rows=st.none() | st.integers(1, 8))
def test_every_text_stands_in_one_batch_within_budget(lengths, budget, max_rows):
    batches = plan_batches(lengths, token_budget=budget, batch_cost=8, max_rows=max_rows)

    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        assert max_rows is None or len(batch) <= max_rows


@given(lengths=Lengths, budget=st.integers(1, 600), max_rows=st.none() | st.integers(1, 40), step=st.integers(1, 32))
def test_batches_of_few_shapes_hold_every_text_within_budget(lengths, budget, max_rows, step):
    batches = plan_batches(lengths, token_budget=budget, batch_cost=8, max_rows=max_rows, step=step)

    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        assert max_rows is None or len(batch) <= max_rows


@given(lengths=Lengths, budget=st.integers(1, 200), max_rows=st.none() | st.integers(1, 8))
def test_batches_without_padding_are_filled_with_tokens(lengths, budget, max_rows):
    batches = fill_batches(lengths, budget, max_rows)

    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].sum() <= budget
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= MAX_PADDING * budget
        assert max_rows is None or len(batch) <= max_rows
    longest = [int(lengths[batch].max()) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_batches_without_padding_are_about_equal():
    lengths = np.random.default_rng(0).integers(100, 300, 1000)

    batches = fill_batches(lengths, 2048)

    sums = np.array([lengths[batch].sum() for batch in batches])
    assert len(batches) <= 1.1 * lengths.sum() / 2048 + 1
    assert np.median(sums) > 2048 - 300
    assert sums.min() > 2048 / 3


@given(width=st.integers(1, 40), texts=st.integers(1, 500), budget=st.integers(40, 4096), step=st.integers(1, 32))
def test_all_batches_of_a_width_but_one_have_tokens_to_a_multiple_of_the_step(width, texts, budget, step):
    batches = plan_batches(np.full(texts, width), token_budget=budget, step=step)

    sizes = [len(batch) * width for batch in batches]
    most = budget // width
    if most * width >= np.lcm(width, step):
        assert sum(size % step > 0 for size in sizes) <= 1
    assert len(sizes) <= -(-texts // max(1, most // 2))


@given(lengths=st.lists(st.integers(0, 600), max_size=20), max_width=st.integers(1, 600))
def test_widths_are_rounded_up_but_never_beyond_the_models_positions(lengths, max_width):
    lengths = np.minimum(np.array(lengths, dtype=np.int64), max_width)

    widths = round_widths(lengths, max_width)

    assert np.all(widths >= lengths)
    assert np.all(widths <= np.maximum(lengths, max_width))
    assert np.array_equal(widths[lengths <= 64], lengths[lengths <= 64])
    assert all(width % 16 == 0 or width == max_width for width in widths[lengths > 64])
    assert np.all(widths - lengths < 16)


def test_a_width_that_is_given_is_filled_up_with_padding():
    tokens = Tokens(np.array([5, 6, 7], np.int32), np.array([0, 1, 3]), pad_id=9)

    padded = tokens.padded(np.array([1, 0]), 4)

    assert padded["input_ids"].tolist() == [[6, 7, 9, 9], [5, 9, 9, 9]]
    assert padded["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=9), batch_cost=st.integers(0, 12))
def test_the_plan_is_the_cheapest_of_all_ways_to_cut_the_sorted_texts(lengths, batch_cost):
    lengths = np.array(sorted(lengths))
    ways = ([0, *cuts, len(lengths)] for n in range(len(lengths)) for cuts in combinations(range(1, len(lengths)), n))
    best = min(sum((b - a) * lengths[b - 1] + batch_cost for a, b in pairwise(way)) for way in ways)

    batches = plan_batches(lengths, token_budget=10_000, batch_cost=batch_cost)

    assert cost_of(batches, lengths, batch_cost) == best


def test_a_hundred_unlike_texts_are_padded_by_little():
    lengths = np.random.default_rng(0).lognormal(3.3, 0.9, 100).clip(3, 256).astype(np.int64)

    batches = plan_batches(lengths, token_budget=8192, batch_cost=64)

    assert sum(len(batch) * lengths[batch].max() for batch in batches) < 1.15 * lengths.sum()


@given(lengths=Lengths)
def test_the_longest_text_comes_first(lengths):
    batches = interleave(plan_batches(lengths, token_budget=50, batch_cost=8))

    assert not batches or lengths[batches[0]].max() == lengths.max()


@given(number=st.integers(0, 50))
def test_interleaving_loses_and_doubles_nothing(number):
    assert sorted(interleave(list(range(number)))) == list(range(number))


def test_interleaving_mixes_long_and_short_from_the_start():
    order = interleave(list(range(100)))

    assert abs(np.mean(order[:10]) - np.mean(order)) < 12


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=8), left=st.booleans())
def test_padded_rows_hold_each_texts_tokens_and_nothing_else(lengths, left):
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    tokens = Tokens(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets, pad_id=0, pad_left=left)
    rows = np.arange(len(lengths))[::-1]

    padded = tokens.padded(rows)

    for row, ids, mask in zip(rows, padded["input_ids"], padded["attention_mask"], strict=True):
        expected = tokens.ids[offsets[row] : offsets[row + 1]]
        assert ids[mask.astype(bool)].tolist() == expected.tolist()
        assert not ids[~mask.astype(bool)].any()
        pads = len(ids) - len(expected)
        assert mask.tolist() == ([0] * pads + [1] * len(expected) if left else [1] * len(expected) + [0] * pads)
