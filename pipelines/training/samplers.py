"""Samplers: which rows form a batch, and from which dataset the next batch comes.

Each sampler yields lists of row numbers. Its seed and the epoch decide the order: call `set_epoch`, then iterate.
"""

import logging
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from typing import Literal, TypeAlias

import torch
from torch.utils.data import Sampler

from indexing.errors import InputError

logger = logging.getLogger(__name__)

BatchSampling: TypeAlias = Literal["batch_sampler", "no_duplicates", "group_by_label"]
MultiDatasetSampling: TypeAlias = Literal["proportional", "round_robin"]

_EXTRA_PASSES = 2


class EpochSampler(Sampler[list[int]]):
    """Base class of samplers whose order depends on a seed and the epoch."""

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + self.epoch)


class _RowSampler(EpochSampler):
    """Base class of samplers of all rows of one dataset."""

    def __init__(self, rows: int, batch_size: int, *, drop_last: bool = False, seed: int = 0) -> None:
        super().__init__(seed)
        self.rows, self.batch_size, self.drop_last = rows, batch_size, drop_last

    def __len__(self) -> int:
        return self.rows // self.batch_size if self.drop_last else -(-self.rows // self.batch_size)


class RandomBatches(_RowSampler):
    """Batches of rows in random order."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.rows, generator=self._generator()).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]


class NoDuplicates(_RowSampler):
    """Random batches in which no two rows share a value, so that no positive of a row is a negative of another.

    A row that does not fit is deferred to the next batch. If one pass over the rows cannot fill all batches, at most
    two more passes add the missing ones.

    Parameters
    ----------
    values
        For each row the texts of all its columns, or any other hashable values.
    """

    def __init__(
        self, values: Sequence[Sequence[Hashable]], batch_size: int, *, drop_last: bool = False, seed: int = 0
    ) -> None:
        super().__init__(len(values), batch_size, drop_last=drop_last, seed=seed)
        codes: dict[Hashable, int] = {}
        self._codes = [tuple({codes.setdefault(value, len(codes)) for value in row}) for row in values]
        self._count = len(codes)

    def __iter__(self) -> Iterator[list[int]]:
        generator, count = self._generator(), 0
        for extra_pass in range(1 + _EXTRA_PASSES):
            for batch in self._one_pass(generator):
                yield batch
                count += 1
                if extra_pass and count == len(self):
                    return
            if count >= len(self) or not count:
                break
            if not extra_pass:
                numbers = f"{count:,}", f"{len(self):,}"
                logger.warning("because rows share values, only %s of %s batches are without repeated rows", *numbers)
        if count < len(self):
            logger.warning(
                "only %s of %s batches could be filled: too few distinct values for batches of %s rows",
                f"{count:,}",
                f"{len(self):,}",
                self.batch_size,
            )

    def _one_pass(self, generator: torch.Generator) -> Iterator[list[int]]:
        """Yield batches of the rows in random order; each takes the first rows that fit.

        A row that shares a value with the batch is parked at that value, and only the first row that is parked at a
        value is tried again. So many rows with the same value cost no more than others.
        """
        order: list[int] = torch.randperm(len(self._codes), generator=generator).tolist()
        last_batch, number = [-1] * self._count, 0  # of each value, the last batch that contains it
        parked: dict[int, list[int]] = {}  # of each value, a heap of places in the order
        ready: list[tuple[int, int]] = []  # heap of (place, value that it was parked at)

        def release(value: int) -> None:
            if waiting := parked.get(value):
                heappush(ready, (heappop(waiting), value))

        fresh, left = 0, len(order)
        while left:
            batch: list[int] = []
            taken: list[int] = []
            while len(batch) < self.batch_size:
                if ready:
                    place, home = heappop(ready)
                elif fresh < len(order):
                    place, home = fresh, -1
                    fresh += 1
                else:
                    break
                codes = self._codes[order[place]]
                shared = next((code for code in codes if last_batch[code] == number), None)
                if shared is not None:
                    heappush(parked.setdefault(shared, []), place)
                    if home >= 0 and last_batch[home] != number:
                        release(home)
                    continue
                for code in codes:
                    last_batch[code] = number
                taken += codes
                batch.append(order[place])
            for value in taken:
                release(value)
            left -= len(batch)
            number += 1
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


class GroupByLabel(EpochSampler):
    """Batches of pairs of rows with the same label, of as many labels as possible, for the batch triplet losses.

    Rows whose label is unique are left out, and so are rows of the most frequent label that remain when all others are
    used up.

    Raises
    ------
    InputError
        If the batch size is odd or below 4, or fewer than two labels have two rows.
    """

    def __init__(self, labels: Sequence[Hashable], batch_size: int, *, drop_last: bool = False, seed: int = 0) -> None:
        super().__init__(seed)
        if batch_size < 4 or batch_size % 2:
            raise InputError(f"group_by_label needs an even batch size of 4 or more, not {batch_size}")
        self.batch_size, self.drop_last = batch_size, drop_last
        groups: dict[Hashable, list[int]] = {}
        for row, label in enumerate(labels):
            groups.setdefault(label, []).append(row)
        self._groups = {label: rows for label, rows in groups.items() if len(rows) >= 2}
        if len(self._groups) < 2:
            raise InputError(f"group_by_label needs two labels with at least two rows; there are {len(self._groups)}")
        pairs = sorted((len(rows) // 2 for rows in self._groups.values()), reverse=True)
        self._rows = 2 * sum(min(count, pairs[1]) for count in pairs)

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._generator()
        queues = {}
        for label, rows in self._groups.items():
            order = torch.randperm(len(rows), generator=generator)[: len(rows) // 2 * 2]
            queues[label] = deque(rows[position] for position in order)
        labels, batch, last = list(queues), list[int](), None
        while len(labels) >= 2:
            labels = [labels[position] for position in torch.randperm(len(labels), generator=generator)]
            if batch and labels[0] == last:
                labels[0], labels[1] = labels[1], labels[0]
            for label in labels:
                batch += [queues[label].popleft(), queues[label].popleft()]
                if len(batch) >= self.batch_size:
                    yield batch[: self.batch_size]
                    batch = batch[self.batch_size :]
            last = labels[-1]
            labels = [label for label in labels if queues[label]]
        if not self.drop_last and len(batch) >= 4:
            yield batch

    def __len__(self) -> int:
        return self._rows // self.batch_size + (not self.drop_last and self._rows % self.batch_size >= 4)


class _MultiDatasetSampler(EpochSampler):
    """Base class of samplers over concatenated datasets; each batch is of one of them.

    Parameters
    ----------
    samplers
        One sampler per dataset.
    rows
        Number of rows of each dataset.
    """

    def __init__(self, samplers: Sequence[EpochSampler], rows: Sequence[int], *, seed: int = 0) -> None:
        super().__init__(seed)
        self.samplers, self.offsets = list(samplers), [0, *accumulate(rows)]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, of each sampler."""
        super().set_epoch(epoch)
        for sampler in self.samplers:
            sampler.set_epoch(epoch)


class RoundRobin(_MultiDatasetSampler):
    """One batch of each dataset in turn, until the smallest dataset is used up."""

    def __iter__(self) -> Iterator[list[int]]:
        for batches in zip(*self.samplers, strict=False):
            for offset, batch in zip(self.offsets, batches, strict=False):
                yield [row + offset for row in batch]

    def __len__(self) -> int:
        return min(map(len, self.samplers)) * len(self.samplers)  # type: ignore[arg-type]


class Proportional(_MultiDatasetSampler):
    """Every batch of every dataset, in random order."""

    def __iter__(self) -> Iterator[list[int]]:
        lengths = map(len, self.samplers)  # type: ignore[arg-type]
        turns = [dataset for dataset, length in enumerate(lengths) for _ in range(length)]
        batches = [iter(sampler) for sampler in self.samplers]
        for position in torch.randperm(len(turns), generator=self._generator()).tolist():
            dataset = turns[position]
            batch = next(batches[dataset], None)
            if batch is not None:
                yield [row + self.offsets[dataset] for row in batch]

    def __len__(self) -> int:
        return sum(map(len, self.samplers))  # type: ignore[arg-type]
