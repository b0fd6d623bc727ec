"""Data loaders: turn a user's data into training rows, and rows into the batches of an epoch."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, TypeAlias

from torch.utils.data import DataLoader

from indexing.errors import InputError
from pipelines.training.arguments import TrainingArguments
from pipelines.training.data import MultiDatasetRows, TrainingRows
from pipelines.training.roles import check_names
from pipelines.training.samplers import (
    EpochSampler,
    GroupByLabel,
    NoDuplicates,
    Proportional,
    RandomBatches,
    RoundRobin,
)
from pipelines.training.streams import ChainedRows, StreamedRows
from pipelines.training.workers import Workers

Data: TypeAlias = Any
"""One dataset, or several by name: `datasets.Dataset`, a list of dicts; or one `datasets.IterableDataset`."""


def prepare_rows(
    data: Data,
    model: Any,
    args: TrainingArguments,
    losses: Mapping[str | None, Any],
    *,
    held_out: bool = False,
    other_names: Iterable[str] = (),
) -> Any:
    """Return validated training rows of `data`; None for None.

    Parameters
    ----------
    data
        One dataset, or several by name.
    model
        The model in training, which tokenizes the texts.
    args
        Arguments of the run.
    losses
        Losses by the name of their dataset, or one loss for all data under None.
    held_out
        The rows are for evaluation. Several datasets may then be streamed: they are read one after the other.
    other_names
        Names of held-out datasets, which prompts and routes of training data may have, too.

    Raises
    ------
    InputError
        If a dataset has no loss, or the arguments ask for a sampler that streamed rows do not support.
    """
    if data is None:
        return None
    settings: dict[str, Any] = {"prompts": args.prompts, "routes": args.router_mapping}
    workers = _workers(args)
    if held_out and hasattr(data, "column_names") and not isinstance(data, Mapping):
        # Held-out rows may lack columns of the training rows, for instance negatives.
        settings = {name: _of_columns(value, data.column_names) for name, value in settings.items()}
    if isinstance(data, Mapping):
        if None not in losses and (missing := [name for name in data if name not in losses]):
            raise InputError(f"the dataset {missing[0]!r} has no loss: there are losses for {list(losses)}")
        streamed = [name for name, rows in data.items() if not isinstance(rows, Sized)]
        if streamed and held_out:
            settings |= {"batch_size": args.eval_batch_size, "workers": workers}
            return ChainedRows([StreamedRows(rows, model, name=name, **settings) for name, rows in data.items()])
        if streamed:
            raise InputError(
                f"the dataset {streamed[0]!r} is streamed, and several datasets are mixed by their sizes, which a "
                "stream does not have: load it into memory, or make one stream with datasets.interleave_datasets"
            )
        if not held_out:
            columns = {name: _columns_of(rows) for name, rows in data.items()}
            check_names("prompts", args.prompts, columns, other_names)
            check_names("router_mapping", args.router_mapping, columns, other_names)
        return MultiDatasetRows([TrainingRows(rows, model, name=name, **settings) for name, rows in data.items()])
    if None not in losses:
        raise InputError("several losses by name need several datasets by name: {name: dataset}")
    if not isinstance(data, Sized):
        return _streamed(data, model, args, settings | {"workers": workers}, held_out=held_out)
    return TrainingRows(data, model, **settings)


def batches(rows: Any, args: TrainingArguments, batch_size: int, *, train: bool) -> DataLoader:
    """Return a loader of the batches of an epoch, with the samplers of `args`."""
    if isinstance(rows, StreamedRows | ChainedRows):
        return DataLoader(rows, batch_size=None)
    drop_last = train and args.dataloader_drop_last
    sampler: EpochSampler
    if isinstance(rows, MultiDatasetRows):
        kind = Proportional if args.multi_dataset_batch_sampler == "proportional" else RoundRobin
        samplers = [_sampler(dataset, args, batch_size, drop_last) for dataset in rows.datasets]
        sampler = kind(samplers, [len(dataset) for dataset in rows.datasets], seed=args.seed)
    else:
        sampler = _sampler(rows, args, batch_size, drop_last)
    # accelerate reads these attributes to distribute batches to processes.
    sampler.batch_size, sampler.drop_last = batch_size, drop_last  # type: ignore[attr-defined]
    return DataLoader(rows, batch_sampler=sampler, collate_fn=identity)


def identity(batch: Any) -> Any:
    """Return the batch unchanged; as a `collate_fn` it disables collation."""
    return batch


def _streamed(
    data: Any, model: Any, args: TrainingArguments, settings: Mapping[str, Any], *, held_out: bool
) -> StreamedRows:
    if held_out:
        return StreamedRows(data, model, args.eval_batch_size, **settings)
    if args.batch_sampler != "batch_sampler":
        raise InputError(f"batch_sampler={args.batch_sampler!r} is not available for a streamed dataset")
    if args.max_steps <= 0:
        raise InputError("a streamed dataset has no length: set max_steps to the number of steps")
    return StreamedRows(
        data, model, args.train_batch_size, drop_last=args.dataloader_drop_last, shared=True, **settings
    )


def _workers(args: TrainingArguments) -> Workers | None:
    count = args.dataloader_num_workers
    return Workers(count, args.dataloader_prefetch_factor) if count else None


def _sampler(rows: TrainingRows, args: TrainingArguments, batch_size: int, drop_last: bool) -> EpochSampler:
    settings: dict[str, Any] = {"drop_last": drop_last, "seed": args.seed}
    if args.batch_sampler == "no_duplicates":
        return NoDuplicates(rows.values(), batch_size, **settings)
    if args.batch_sampler == "group_by_label":
        if rows.labels is None:
            raise InputError("batch_sampler='group_by_label' needs a label column")
        return GroupByLabel(rows.labels, batch_size, **settings)
    return RandomBatches(len(rows), batch_size, **settings)


def _of_columns(by_column: Any, columns: Sequence[str]) -> Any:
    if not isinstance(by_column, Mapping):
        return by_column
    # Values by column under a dataset's name are passed on: rows without a name refuse them.
    return {name: value for name, value in by_column.items() if name in columns or isinstance(value, Mapping)}


def _columns_of(rows: Any) -> list[str]:
    return list(rows.column_names) if hasattr(rows, "column_names") else list(rows[0]) if len(rows) else []
