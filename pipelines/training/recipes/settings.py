"""Settings of a training run, read from a YAML file and command-line flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from indexing.errors import InputError
from indexing.settings_files import read_dataclass, read_yaml

Kind: TypeAlias = Literal["dense", "sparse", "multi-vector", "reranker"]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of one training run; None means a default chosen by the kind of model, the data and the machine.

    Parameters
    ----------
    model
        The model to train: a folder or a Hub name.
    output
        Folder for the checkpoints, the log, and the trained model in ``final``.
    data
        Training rows: a folder written by ``retrieve mine``, JSONL, CSV, TSV, Parquet, or a `datasets` name.
    split
        Split of a `datasets` name.
    columns
        Columns to read, in this order; by default all except ids.
    eval_data
        Held-out rows with the same columns, or a BEIR folder whose queries are searched.
    loss, loss_options
        Class name and arguments of the loss; by default `losses.default_loss` chooses by the columns.
    matryoshka
        Widths at which the first dimensions of dense vectors are trained too.
    document_weight, query_weight
        Weights of SPLADE's regularizers.
    inference_free
        Encode queries by one learned weight per term, without a transformer.
    dimension, query_expansion
        Width of the vectors of a multi-vector encoder made from a dense one (128), and whether its queries are filled
        up with mask tokens to `query_length`.
    query_length, document_length
        Maximum tokens of a multi-vector encoder's queries and documents. Default: the checkpoint's; 32 and 180 for a
        new one.
    epochs, max_steps
        Length of the run; max_steps takes precedence over epochs.
    batch_size
        Rows per step. Default: 32; 8 for a reranker whose rows hold several documents; 128 for (query, positive[,
        negative …]) rows of a dense or multi-vector encoder when there are 2,560 or more and no loss is named.
    lr
        Learning rate. Default: 2e-5; 2e-4 for LoRA and a cross-encoder made from an encoder, 5e-5 for a multi-vector
        encoder.
    warmup
        Share of the steps over which the learning rate rises.
    dropout
        Dropout of all layers. Default: 0 on a CPU, else the model's own.
    lora
        Train an adapter and save it alone: r=16,alpha=32,target=query+value; see `lora.lora_options`.
    bf16
        Compute in bfloat16. Default: on if the hardware supports it.
    seed, max_length
        Seed of all random choices; maximum tokens of a text or pair.
    checkpoints
        Number of times the model is saved (and evaluated) during the run.
    resume
        Resume from the newest checkpoint in `output`.
    arguments
        Further `TrainingArguments`, those of `transformers` included.
    """

    model: str
    output: str
    data: str | None = None
    split: str | None = None
    columns: tuple[str, ...] | None = None
    eval_data: str | None = None
    loss: str | None = None
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    matryoshka: tuple[int, ...] | None = None
    document_weight: float = 3e-5
    query_weight: float = 5e-5
    inference_free: bool = False
    dimension: int | None = field(default=None, metadata={"min": 1})
    query_expansion: bool = False
    query_length: int | None = field(default=None, metadata={"min": 1})
    document_length: int | None = field(default=None, metadata={"min": 1})
    epochs: float = field(default=1.0, metadata={"above": 0})
    max_steps: int = field(default=-1, metadata={"min": -1})
    batch_size: int | None = field(default=None, metadata={"min": 1})
    lr: float | None = field(default=None, metadata={"above": 0})
    warmup: float = field(default=0.1, metadata={"min": 0, "below": 1})
    seed: int = 42
    dropout: float | None = None
    lora: str | None = None
    bf16: bool | None = None
    max_length: int | None = None
    checkpoints: int = field(default=4, metadata={"min": 1})
    resume: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, config: str | Path | None, flags: Mapping[str, Any], **defaults: Any) -> Self:
        """Read settings from a YAML file; flags override the file, which overrides the defaults.

        Parameters
        ----------
        config
            A file of ``name: value`` lines, or None.
        flags
            Values by name; None for a flag that was not given.
        defaults
            Values of settings found in neither.

        Raises
        ------
        InputError
            For an unknown key (the message lists all keys), a value of the wrong type, or a missing required setting.
        """
        where = "the settings" if config is None else str(config)
        content = {} if config is None else read_yaml(config)
        if not isinstance(content, Mapping):
            raise InputError(f"{where}: it must hold lines of 'name: value', as in 'model: my-encoder'")
        names = [setting.name for setting in fields(cls)]
        values = {str(name).replace("-", "_"): value for name, value in content.items()}
        if unknown := [name for name in values if name not in names]:
            raise InputError(
                f"{where}: unknown settings {', '.join(map(repr, unknown))}; there are {', '.join(names)} "
                "(any other argument of the trainer goes under 'arguments')"
            )
        values = defaults | _given(values) | {name: flags[name] for name in _given(flags) if name in names}
        if missing := [name for name in ("model", "output") if not values.get(name)]:
            raise InputError(f"{where}: {' and '.join(missing)} must be given, in the file or as --{missing[0]}")
        settings = read_dataclass(cls, values, where)
        if not settings.max_steps:
            raise InputError(f"{where}: max_steps must be at least 1, or -1 for all epochs")
        return settings


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
