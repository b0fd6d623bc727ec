"""From a user's data to the batches of an epoch: which rows, in which order, how many at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from torch.utils.data import DataLoader

from indexing.errors import InputError
from pipelines.training.arguments import TrainingArguments
from pipelines.training.data import SeveralDatasets, StreamedRows, TrainingRows
from pipelines.training.samplers import (
    EpochSampler,
    GroupByLabel,
    NoDuplicates,
    Proportional,
    RandomBatches,
    RoundRobin,
)

Data: TypeAlias = Any
"""One dataset, or several by name: `datasets.Dataset`, a list of dicts; or one `datasets.IterableDataset`."""


def prepared(
    data: Data, model: Any, args: TrainingArguments, losses: Mapping[str | None, Any], *, held_out: bool = False
) -> Any:
    """Check data, and give its rows as a trainer takes them; None for none.

    Parameters
    ----------
    data
        One dataset, or several by name.
    model
        As it is trained: it cuts texts into tokens.
    args
        Of the run.
    losses
        By the name of their dataset, or one for all under None.
    held_out
        Rows that are not trained on.

    Raises
    ------
    InputError
        When a dataset has no loss, or streamed rows are to be drawn in another order than their own.
    """
    if data is None:
        return None
    settings = {"prompts": args.prompts, "routes": args.router_mapping}
    if held_out and hasattr(data, "column_names"):
        # Held-out rows may have fewer columns than those that are trained on: no negatives, for instance.
        settings = {name: _of_columns(value, data.column_names) for name, value in settings.items()}
    if isinstance(data, Mapping):
        if None not in losses:
            lost = [name for name in data if name not in losses]
            if lost:
                raise InputError(f"the dataset {lost[0]!r} has no loss: there are losses for {list(losses)}")
        return SeveralDatasets([TrainingRows(rows, model, name=name, **settings) for name, rows in data.items()])
    if None not in losses:
        raise InputError("several losses by name need several datasets by name: {name: dataset}")
    if not hasattr(data, "__len__"):
        if args.batch_sampler != "batch_sampler":
            raise InputError(
                f"a streamed dataset is read in its own order: batch_sampler={args.batch_sampler!r} cannot be"
            )
        return StreamedRows(data, model, args.train_batch_size, drop_last=args.dataloader_drop_last, **settings)
    return TrainingRows(data, model, **settings)


def batches(rows: Any, args: TrainingArguments, batch_size: int, *, train: bool) -> DataLoader:
    """Give the batches of an epoch, drawn as `args` say."""
    if isinstance(rows, StreamedRows):
        return DataLoader(rows, batch_size=None)
    drop_last = train and args.dataloader_drop_last
    sampler: EpochSampler
    if isinstance(rows, SeveralDatasets):
        kind = Proportional if args.multi_dataset_batch_sampler == "proportional" else RoundRobin
        samplers = [_sampler(one, args, batch_size, drop_last) for one in rows.datasets]
        sampler = kind(samplers, [len(one) for one in rows.datasets], seed=args.seed)
    else:
        sampler = _sampler(rows, args, batch_size, drop_last)
    # What accelerate reads when it deals batches out to processes.
    sampler.batch_size, sampler.drop_last = batch_size, drop_last  # type: ignore[attr-defined]
    return DataLoader(rows, batch_sampler=sampler, collate_fn=as_it_is)


def as_it_is(batch: Any) -> Any:
    """Give a batch that needs no collating."""
    return batch


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
    return {name: value for name, value in by_column.items() if name in columns}
