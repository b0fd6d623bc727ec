"""Samplers give the batches that sentence-transformers' give from the same seed."""

import random
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.base import sampler as theirs
from torch.utils.data import ConcatDataset

from pipelines.training import samplers as ours


def rows(count: int, values: int, seed: int = 0) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    return [(f"q{draw.randrange(values)}", f"d{draw.randrange(values)}") for _ in range(count)]


def their_batches(dataset: Dataset, batch_size: int, drop_last: bool, epoch: int) -> list[list[int]]:
    sampler = theirs.NoDuplicatesBatchSampler(
        dataset, batch_size, drop_last, generator=torch.Generator(), seed=3, valid_label_columns=["label"]
    )
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    ("count", "values", "batch_size"), [(200, 1000, 16), (200, 30, 16), (60, 4, 8), (5, 9, 8), (0, 1, 4)]
)
@pytest.mark.parametrize("epoch", [0, 2])
def test_no_duplicates(count: int, values: int, batch_size: int, drop_last: bool, epoch: int) -> None:
    texts = rows(count, values)
    dataset = Dataset.from_dict({"query": [q for q, _ in texts], "document": [d for _, d in texts]})
    mine = ours.NoDuplicates(texts, batch_size, drop_last=drop_last, seed=3)
    mine.set_epoch(epoch)
    assert list(mine) == their_batches(dataset, batch_size, drop_last, epoch)
    assert len(mine) == len(theirs.NoDuplicatesBatchSampler(dataset, batch_size, drop_last))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=60), st.integers(1, 9), st.booleans())
def test_a_batch_takes_the_first_rows_that_fit(values: list[tuple[int, int]], batch_size: int, drop_last: bool) -> None:
    dataset = Dataset.from_dict({"query": [f"q{q}" for q, _ in values], "document": [f"d{d}" for _, d in values]})
    mine = ours.NoDuplicates([(f"q{q}", f"d{d}") for q, d in values], batch_size, drop_last=drop_last, seed=3)
    assert list(mine) == their_batches(dataset, batch_size, drop_last, 0)


def test_rows_that_all_share_a_value_are_looked_at_about_once_each() -> None:
    class Counted(tuple[int, ...]):
        looked_at = 0

        def __iter__(self) -> Any:
            Counted.looked_at += 1
            return super().__iter__()

    sampler = ours.NoDuplicates([("q", f"d{at}") for at in range(3000)], 16)
    sampler._codes = [Counted(codes) for codes in sampler._codes]
    assert len(list(sampler)) == 3000
    assert Counted.looked_at < 5 * 3000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=60), st.integers(1, 9), st.booleans())
def test_no_batch_holds_a_value_twice_and_no_row_is_lost(
    values: list[tuple[int, int]], batch_size: int, drop_last: bool
) -> None:
    sampler = ours.NoDuplicates(values, batch_size, drop_last=drop_last)
    seen = set()
    for batch in sampler:
        held = [value for row in batch for value in set(values[row])]
        assert len(held) == len(set(held))
        assert len(batch) == batch_size or not drop_last
        seen |= set(batch)
    if not drop_last:
        assert seen == set(range(len(values)))


@pytest.mark.parametrize("drop_last", [False, True])
def test_group_by_label(drop_last: bool) -> None:
    draw = random.Random(1)
    labels = [draw.choice("aaabbcde") for _ in range(101)] + ["single"]
    dataset = Dataset.from_dict({"text": [str(at) for at in range(102)], "label": labels})
    reference = theirs.GroupByLabelBatchSampler(
        dataset, 8, drop_last, valid_label_columns=["label"], generator=torch.Generator(), seed=5
    )
    mine = ours.GroupByLabel(labels, 8, drop_last=drop_last, seed=5)
    for epoch in (0, 1):
        reference.set_epoch(epoch)
        mine.set_epoch(epoch)
        batches = list(mine)
        assert batches == list(reference)
        assert len(batches) == len(mine) == len(reference)


@pytest.mark.parametrize("name", ["round_robin", "proportional"])
def test_several_datasets(name: str) -> None:
    sizes = [50, 21, 8]
    datasets = [Dataset.from_dict({"text": [str(at) for at in range(size)]}) for size in sizes]
    inner = [theirs.NoDuplicatesBatchSampler(d, 8, False, generator=torch.Generator(), seed=4) for d in datasets]
    kind, own = {
        "round_robin": (theirs.RoundRobinBatchSampler, ours.RoundRobin),
        "proportional": (theirs.ProportionalBatchSampler, ours.Proportional),
    }[name]
    reference = kind(ConcatDataset(datasets), inner, generator=torch.Generator(), seed=4)
    mine = own([ours.NoDuplicates([(at,) for at in range(size)], 8, seed=4) for size in sizes], sizes, seed=4)
    for epoch in (0, 3):
        reference.set_epoch(epoch)
        mine.set_epoch(epoch)
        assert list(mine) == list(reference)
        assert len(mine) == len(reference)


def test_a_plain_epoch_visits_every_row_once() -> None:
    sampler = ours.RandomBatches(23, 5, seed=1)
    first = list(sampler)
    assert sorted(row for batch in first for row in batch) == list(range(23))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert [len(batch) for batch in ours.RandomBatches(23, 5, drop_last=True)] == [5, 5, 5, 5]
