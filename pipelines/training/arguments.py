"""Arguments of a training run, one class for each kind of model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import torch
import transformers
from transformers.integrations import get_available_reporting_integrations

from indexing.errors import InputError, StorageError
from indexing.inputs import number, require_positive, shown, whole_number
from indexing.json_text import read_json_object
from pipelines.training.samplers import BatchSampling, MultiDatasetSampling

logger = logging.getLogger(__name__)

_INAPPLICABLE = ("neftune_noise_alpha", "label_smoothing_factor", "use_liger_kernel")
"""Arguments of transformers that work on language models only."""
_WHOLE = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "max_steps": -1,
    "seed": 0,
    "dataloader_num_workers": 0,
    "dataloader_prefetch_factor": 1,
}
_NUMBERS = ("learning_rate", "num_train_epochs", "dropout", "weight_decay", "max_grad_norm")


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """Arguments of `transformers.TrainingArguments`, and those for training encoders.

    Parameters
    ----------
    prompts
        Prompts of texts: one for all; {column: prompt}; {dataset: prompt}; or {dataset: {column: prompt}}.
    batch_sampler
        "batch_sampler" (rows in random order), "no_duplicates" (no text twice in a batch, for losses that use the
        documents of other rows as negatives) or "group_by_label" (for the batch triplet losses).
    multi_dataset_batch_sampler
        "proportional" (every batch of every dataset) or "round_robin" (as many batches of each dataset as the smallest
        has).
    router_mapping
        {column: route} or {dataset: {column: route}}, for a model with a `Router`.
    learning_rate_mapping
        {regular expression: learning rate}; each expression is searched in the names of the loss's parameters, which
        begin with ``model.network.``. If several match, the last one applies.
    dropout
        Probability of all dropout layers; None keeps that of the checkpoint. On a CPU dropout slows down each step.
    """

    prompts: Any = None
    batch_sampler: str = "batch_sampler"
    multi_dataset_batch_sampler: str = "proportional"
    router_mapping: Any = None
    learning_rate_mapping: Mapping[str, float] | None = field(default=None)
    dropout: float | None = None

    def __post_init__(self) -> None:
        _check_values(self)
        _check_sharding(self)
        super().__post_init__()
        self.prediction_loss_only = True
        if unknown := [name for name in self.report_to or () if name not in get_available_reporting_integrations()]:
            raise InputError(
                f"report_to names {unknown[0]!r}, which is not installed or unknown to transformers; there are "
                f"{', '.join(get_available_reporting_integrations()) or 'none'}"
            )
        # A process with one batch more than the others would wait for their gradients forever.
        self.dataloader_drop_last |= self.parallel_mode is transformers.training_args.ParallelMode.DISTRIBUTED
        if inapplicable := [name for name in _INAPPLICABLE if getattr(self, name, None)]:
            raise InputError(f"{inapplicable[0]} does not apply to the training of encoders: leave it out")
        samplers = {"batch_sampler": BatchSampling, "multi_dataset_batch_sampler": MultiDatasetSampling}
        for name, choices in samplers.items():
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}, not {getattr(self, name)!r}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be from 0 to below 1, not {self.dropout}")


def _check_values(arguments: TrainingArguments) -> None:
    """Raise InputError for a value of another type, before transformers computes with it."""
    for name, least in _WHOLE.items():
        if getattr(arguments, name) is not None:
            whole_number(getattr(arguments, name), name, least=least)
    for name in _NUMBERS:
        if getattr(arguments, name) is not None:
            number(getattr(arguments, name), name, least=0)
    for name in ("router_mapping", "learning_rate_mapping"):
        if not isinstance(getattr(arguments, name), Mapping | None):
            raise InputError(f"{name} must be a mapping, not {shown(getattr(arguments, name))}")
    if not isinstance(arguments.prompts, str | Mapping | None):
        raise InputError(f"prompts must be a text or prompts by column or dataset, not {shown(arguments.prompts)}")


def _check_sharding(arguments: TrainingArguments) -> None:
    """Read the configurations of FSDP and DeepSpeed, before transformers and accelerate do.

    Raises
    ------
    InputError
        For a file that is no JSON object, a missing package, or processes without GPUs.
    """
    for name in ("fsdp_config", "deepspeed"):
        value = getattr(arguments, name)
        if isinstance(value, str):
            try:
                read_json_object(Path(value), f"{name} must be a mapping or a JSON file that holds one")
            except StorageError as error:
                raise InputError(str(error)) from error
    if arguments.deepspeed and find_spec("deepspeed") is None:
        raise InputError("deepspeed is not installed: pip install deepspeed, or leave the argument out")
    if (arguments.fsdp or arguments.deepspeed) and (arguments.use_cpu or not torch.cuda.is_available()):
        name = "deepspeed" if arguments.deepspeed else "fsdp"
        logger.warning("%s has no effect on CPUs, where accelerate does not divide weights among processes", name)
    config = arguments.fsdp_config
    if arguments.fsdp and isinstance(config, Mapping) and str(config.get("version", config.get("fsdp_version"))) == "1":
        raise InputError(
            "fsdp_config: version 1 does not apply to the training of encoders: use version 2, the default"
        )


@dataclass
class DenseTrainingArguments(TrainingArguments):
    """Arguments for training a dense encoder."""


@dataclass
class SparseTrainingArguments(TrainingArguments):
    """Arguments for training a sparse encoder.

    Parameters
    ----------
    regularizer_warmup_ratio
        Share of all steps over which the weights of SPLADE's regularizers rise from 0 (1/3).
    regularizer_schedule
        "quadratic" or "linear".
    """

    regularizer_warmup_ratio: float = 1 / 3
    regularizer_schedule: str = "quadratic"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.regularizer_warmup_ratio <= 1:
            raise InputError(
                f"regularizer_warmup_ratio must be above 0 and at most 1, not {self.regularizer_warmup_ratio}"
            )
        if self.regularizer_schedule not in ("quadratic", "linear"):
            raise InputError(f"regularizer_schedule must be quadratic or linear, not {self.regularizer_schedule!r}")


@dataclass
class MultiVectorTrainingArguments(TrainingArguments):
    """Arguments for training a multi-vector encoder.

    Parameters
    ----------
    max_length
        Maximum tokens of a text in training, or {"query": …, "document": …}, instead of the encoder's lengths, which
        the saved model keeps. Queries that are expanded to a fixed length keep it.
    """

    max_length: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = self.max_length if isinstance(self.max_length, Mapping) else {"query": self.max_length}
        if unknown := sorted(set(lengths) - {"query", "document"}):
            raise InputError(f"max_length has lengths of queries and documents, not of {unknown[0]!r}")
        for length in lengths.values():
            require_positive(max_length=length)


@dataclass
class RerankerTrainingArguments(TrainingArguments):
    """Arguments for training a cross-encoder."""
