"""Streamed training data: rows are validated and tokenized batch by batch, in this process or in worker processes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.utils.data import IterableDataset
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from indexing.errors import InputError
from pipelines.training.arguments import TrainingArguments
from pipelines.training.data import Batch, TrainingRows
from pipelines.training.model import EmbeddingModel, ScoringModel
from pipelines.training.roles import Prompts, Routes
from pipelines.training.workers import Workers, in_workers

Block: TypeAlias = tuple[int, list[Mapping[str, Any]]]
"""The number of the first row, and the rows of a batch."""


class StreamedRows(IterableDataset[Batch]):
    """A streamed dataset, which is validated and tokenized batch by batch.

    The batches and their order do not depend on the number of workers.

    Parameters
    ----------
    data
        A `datasets.IterableDataset`, or any iterable of dicts that can be iterated repeatedly.
    batch_size
        Rows per batch.
    name
        Name of the dataset, if there are several.
    drop_last
        Leave out a last batch of fewer rows.
    shared
        Divide the batches among the processes of a distributed run; each then gets equally many.
    workers
        Processes that read and tokenize the rows. Default: this process does.

    Raises
    ------
    InputError
        For a generator, which can be read only once.
    """

    def __init__(
        self,
        data: Iterable[Mapping[str, Any]],
        model: EmbeddingModel | ScoringModel,
        batch_size: int,
        *,
        name: str | None = None,
        prompts: Prompts = None,
        routes: Routes = None,
        drop_last: bool = False,
        shared: bool = False,
        workers: Workers | None = None,
    ) -> None:
        if isinstance(data, Iterator):
            raise InputError(
                "the training data is a generator, which can be read only once: make it a stream with "
                "datasets.IterableDataset.from_generator"
            )
        self._data, self._model, self._batch_size = data, model, batch_size
        self._settings: dict[str, Any] = {"name": name, "prompts": prompts, "routes": routes, "show_progress": False}
        self._drop_last, self._shared, self._workers = drop_last, shared, workers

    def __iter__(self) -> Iterator[Batch]:
        if self._workers is None:
            return map(self._batch, self._blocks())
        return in_workers(self._blocks, self._batch, self._workers)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, by which a shuffled stream chooses its order."""
        if hasattr(self._data, "set_epoch"):
            self._data.set_epoch(epoch)

    def first(self, count: int) -> Batch | None:
        """Return the first rows as a batch; None for an empty stream."""
        block = list(islice(self._data, count))
        return self._batch((0, block)) if block else None

    def _blocks(self) -> Iterator[Block]:
        """Yield the rows of each batch of this process."""
        rank, processes = _place_among_processes() if self._shared else (0, 1)
        rows, start = iter(self._data), 0
        group: list[Block] = []
        while block := list(islice(rows, self._batch_size)):
            if len(block) == self._batch_size or not self._drop_last:
                group.append((start, block))
            if len(group) == processes:
                yield group[rank]
                group = []
            start += len(block)

    def _batch(self, block: Block) -> Batch:
        start, rows = block
        return TrainingRows(rows, self._model, first_row=start, **self._settings).__getitems__(range(len(rows)))


class ChainedRows(IterableDataset[Batch]):
    """Streamed datasets, one after the other, for evaluation."""

    def __init__(self, datasets: Sequence[StreamedRows]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Batch]:
        for dataset in self.datasets:
            yield from dataset


def position_in_stream(checkpoint: Path, args: TrainingArguments) -> tuple[int, int]:
    """Return how many times a stream had been read to its end, and the batches read since, at a checkpoint.

    transformers counts all steps as one reading.
    """
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    epoch = state.epoch or 0
    # An epoch of a stream counts as the `max_steps` of its run.
    return int(epoch), round((epoch - int(epoch)) * state.max_steps * args.gradient_accumulation_steps)


def _place_among_processes() -> tuple[int, int]:
    """Return the rank of this process and the number of processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
