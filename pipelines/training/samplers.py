"""Which rows form a batch, and from which dataset the next batch comes.

Each sampler gives lists of row numbers, anew for each epoch from its seed: `set_epoch`, then iterate.
"""

import logging
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, TypeAlias

import torch
from torch.utils.data import Sampler

from indexing.errors import InputError

logger = logging.getLogger(__name__)

BatchSampling: TypeAlias = Literal["batch_sampler", "no_duplicates", "group_by_label"]
MultiDatasetSampling: TypeAlias = Literal["proportional", "round_robin"]

_MORE_PASSES = 2


class EpochSampler(Sampler[list[int]]):
    """Batches in an order that the seed and the epoch decide."""

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is."""
        self.epoch = epoch

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + self.epoch)


class RandomBatches(EpochSampler):
    """Rows in random order."""

    def __init__(self, rows: int, batch_size: int, *, drop_last: bool = False, seed: int = 0) -> None:
        super().__init__(seed)
        self.rows, self.batch_size, self.drop_last = rows, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.rows, generator=self._generator()).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def __len__(self) -> int:
        return self.rows // self.batch_size if self.drop_last else -(-self.rows // self.batch_size)


class NoDuplicates(EpochSampler):
    """Random batches in which no two rows share a value: what is a positive of one row is no negative of another.

    A row that does not fit waits for the next batch. When too many wait to fill as many batches as there are rows
    for, at most two more passes over the rows fill up.

    Parameters
    ----------
    values
        For each row the texts of all its columns, or anything else that is equal when they are.
    """

    def __init__(
        self, values: Sequence[Sequence[Hashable]], batch_size: int, *, drop_last: bool = False, seed: int = 0
    ) -> None:
        super().__init__(seed)
        self.batch_size, self.drop_last = batch_size, drop_last
        codes: dict[Hashable, int] = {}
        self._codes = [tuple({codes.setdefault(value, len(codes)) for value in row}) for row in values]
        self._count = len(codes)

    def __iter__(self) -> Iterator[list[int]]:
        generator, given = self._generator(), 0
        for again in range(1 + _MORE_PASSES):
            for batch in self._one_pass(generator):
                yield batch
                given += 1
                if again and given == len(self):
                    return
            if given >= len(self) or not given:
                break
            if not again:
                logger.warning(
                    "rows that share values gave %s of %s batches; the others repeat rows",
                    f"{given:,}",
                    f"{len(self):,}",
                )
        if given < len(self):
            logger.warning(
                "only %s of %s batches could be filled: too few different values for batches of %s rows",
                f"{given:,}",
                f"{len(self):,}",
                self.batch_size,
            )

    def _one_pass(self, generator: torch.Generator) -> Iterator[list[int]]:
        waiting: deque[int] = deque(torch.randperm(len(self._codes), generator=generator).tolist())
        seen_in, number = [-1] * self._count, 0  # the last batch that a value stood in
        while waiting:
            batch: list[int] = []
            later: list[int] = []
            while waiting and len(batch) < self.batch_size:
                row = waiting.popleft()
                codes = self._codes[row]
                if any(seen_in[code] == number for code in codes):
                    later.append(row)
                    continue
                for code in codes:
                    seen_in[code] = number
                batch.append(row)
            waiting.extendleft(reversed(later))
            number += 1
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        rows = len(self._codes)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)


class GroupByLabel(EpochSampler):
    """Batches of pairs of rows with one label, of as many labels as can be: what the batch triplet losses need.

    Labels of one row are left out; what remains of the most frequent one when the others are used up, too.

    Raises
    ------
    InputError
        For an odd batch, or one below 4; or when fewer than two labels have two rows.
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
            raise InputError(f"group_by_label needs two labels of two rows or more, and {len(self._groups)} has them")
        pairs = sorted((len(rows) // 2 for rows in self._groups.values()), reverse=True)
        self._rows = 2 * sum(min(count, pairs[1]) for count in pairs)

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._generator()
        queues = {}
        for label, rows in self._groups.items():
            order = torch.randperm(len(rows), generator=generator)[: len(rows) // 2 * 2]
            queues[label] = deque(rows[place] for place in order)
        left, batch, last = list(queues), list[int](), None
        while len(left) >= 2:
            left = [left[place] for place in torch.randperm(len(left), generator=generator)]
            if batch and left[0] == last:
                left[0], left[1] = left[1], left[0]
            for label in left:
                batch += [queues[label].popleft(), queues[label].popleft()]
                if len(batch) >= self.batch_size:
                    yield batch[: self.batch_size]
                    batch = batch[self.batch_size :]
            last = left[-1]
            left = [label for label in left if queues[label]]
        if not self.drop_last and len(batch) >= 4:
            yield batch

    def __len__(self) -> int:
        return self._rows // self.batch_size + (not self.drop_last and self._rows % self.batch_size >= 4)


class _SeveralDatasets(EpochSampler):
    """Batches of several datasets that stand one behind another; each batch is of one of them.

    Parameters
    ----------
    samplers
        One a dataset.
    rows
        How many each dataset has.
    """

    def __init__(self, samplers: Sequence[EpochSampler], rows: Sequence[int], *, seed: int = 0) -> None:
        super().__init__(seed)
        self.samplers, self.offsets = list(samplers), [0, *accumulate(rows)]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is."""
        super().set_epoch(epoch)
        for sampler in self.samplers:
            sampler.set_epoch(epoch)


class RoundRobin(_SeveralDatasets):
    """A batch of each dataset in turn, until the smallest is used up."""

    def __iter__(self) -> Iterator[list[int]]:
        for batches in zip(*self.samplers, strict=False):
            for offset, batch in zip(self.offsets, batches, strict=False):
                yield [row + offset for row in batch]

    def __len__(self) -> int:
        return min(map(len, self.samplers)) * len(self.samplers)  # type: ignore[arg-type]


class Proportional(_SeveralDatasets):
    """Every batch of every dataset, in random order."""

    def __iter__(self) -> Iterator[list[int]]:
        turns = [at for at, sampler in enumerate(self.samplers) for _ in range(len(sampler))]  # type: ignore[arg-type]
        left = [iter(sampler) for sampler in self.samplers]
        for place in torch.randperm(len(turns), generator=self._generator()).tolist():
            batch = next(left[turns[place]], None)
            if batch is not None:
                yield [row + self.offsets[turns[place]] for row in batch]

    def __len__(self) -> int:
        return sum(map(len, self.samplers))  # type: ignore[arg-type]
