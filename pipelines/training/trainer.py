"""Trainer of encoders: `transformers.Trainer` with losses over several columns and evaluators."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from accelerate.data_loader import prepare_data_loader
from torch import Tensor, nn
from torch.utils.data import DataLoader

from indexing.errors import InputError
from indexing.inputs import local_path
from pipelines.model_card import Card, card_of, is_by_hand
from pipelines.training.arguments import MultiVectorTrainingArguments, SparseTrainingArguments, TrainingArguments
from pipelines.training.callbacks import RegularizerSchedule, add_callbacks
from pipelines.training.card_filling import facts_of, fill_card
from pipelines.training.checks import try_losses, try_metric, try_saving, warn_of_idle_workers
from pipelines.training.data import MultiDatasetRows, TrainingRows
from pipelines.training.distributed import average_gradients
from pipelines.training.loading import Data, batches, identity, prepare_rows
from pipelines.training.model import ScoringModel, TokenEmbeddingModel, has_router, trained
from pipelines.training.optimization import parameter_groups
from pipelines.training.sharding import fill_gradients, is_sharded, load_whole, whole_weights
from pipelines.training.streams import ChainedRows, StreamedRows, position_in_stream
from retrieve.encoders.saving import write_into

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder

logger = logging.getLogger(__name__)

ARGUMENTS_FILE = "training_arguments.json"
FINAL = "final"
"""Folder of the final model within the output folder."""
PREPARED = (TrainingRows, MultiDatasetRows, StreamedRows, ChainedRows)
"""Types of validated rows."""


class Trainer(transformers.Trainer):
    """Trainer of an encoder, in place, with any of the losses.

    All arguments and callbacks of `transformers.Trainer` apply: logging, checkpoints,
    `train(resume_from_checkpoint=…)`, bf16, gradient accumulation, distributed training. A checkpoint folder is a model
    folder like any other.

    Parameters
    ----------
    encoder
        Loaded with ``dtype="float32"``.
    args
        See `TrainingArguments`.
    train_dataset
        The column named label, labels, score or scores is the label; the others are the loss's inputs, in their order.
        Several datasets by name ({name: dataset}) are mixed batch by batch. An iterable dataset is streamed and needs
        `max_steps`.
    eval_dataset
        Rows with the same columns, for the evaluation loss.
    loss
        One loss, or {dataset name: loss}.
    evaluator
        Called as ``evaluator(encoder, output_path, epoch, steps)`` at each evaluation; returns {name: value}, and each
        name can be `metric_for_best_model`. The evaluators of a list run in order.
    card
        Content of the saved model cards in addition to what the trainer records.

    Raises
    ------
    InputError
        Before the first step, for a row that is not text, data that does not fit the loss, or an unknown name.
    """

    args: TrainingArguments
    model: nn.Module
    train_dataset: Any
    eval_dataset: Any

    def __init__(
        self,
        encoder: "Encoder",
        args: TrainingArguments,
        train_dataset: Data,
        eval_dataset: Data = None,
        *,
        loss: nn.Module | Mapping[str, nn.Module],
        evaluator: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
        card: Card | None = None,
        callbacks: Sequence[transformers.TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        self.encoder, model = encoder, trained(encoder)
        self.losses: dict[str | None, nn.Module] = {None: loss} if isinstance(loss, nn.Module) else dict(loss.items())
        self.loss_modules = nn.ModuleDict({name or "loss": module for name, module in self.losses.items()})
        self.evaluators = [] if evaluator is None else [evaluator] if callable(evaluator) else list(evaluator)
        self._parts: dict[str, Tensor] = {}
        self._part_steps = 0
        own = card_of(encoder)
        self.card = own if card is None else card
        self.card.evaluations = own.evaluations
        encoder.model_card_data = self.card
        if isinstance(model, ScoringModel):
            if not isinstance(args.prompts, str | None):
                raise InputError("a cross-encoder takes one prompt for all its queries: prompts must be a string")
            model.prompt = args.prompts or encoder.resolve_prompt(None, None)  # type: ignore[attr-defined]
        if isinstance(model, TokenEmbeddingModel):
            model.max_length = getattr(args, "max_length", None)
        if (args.eval_strategy != "no" or args.eval_on_start) and eval_dataset is None and not self.evaluators:
            asked = f"eval_strategy={str(args.eval_strategy)!r}" if args.eval_strategy != "no" else "eval_on_start"
            raise InputError(f"{asked} needs an eval_dataset or an evaluator")
        if has_router(encoder) and not args.router_mapping:
            raise InputError(
                "the model has a Router: set router_mapping to the route of each column, as in "
                '{"query": "query", "positive": "document"}'
            )
        held_out_names = list(eval_dataset) if isinstance(eval_dataset, Mapping) else []
        train = prepare_rows(train_dataset, model, args, self.losses, other_names=held_out_names)
        evaluation = prepare_rows(eval_dataset, model, args, self.losses, held_out=True)
        self.card.train, self.card.evaluation = facts_of(train_dataset, model), facts_of(eval_dataset, model)
        super().__init__(
            model=model,
            args=args,
            data_collator=identity,
            train_dataset=train,
            # With evaluators alone, the evaluation loop runs over an empty dataset.
            eval_dataset=evaluation if evaluation is not None or not self.evaluators else [],
            callbacks=list(callbacks or []),
            optimizers=optimizers,
        )
        self.model_accepts_loss_kwargs = False
        self._averages = self.accelerator.distributed_type.startswith("MULTI_")
        if self._averages:
            # Prevents wrapping in DistributedDataParallel: see `average_gradients`.
            self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        if hasattr(model, "splits_batches"):
            model.splits_batches = not self.is_fsdp_enabled
        self.loss_modules.to(args.device)
        add_callbacks(self)
        if args.dropout is not None:
            _set_dropout(self.loss_modules, args.dropout)
        warn_of_idle_workers(args, (train, evaluation))
        try_losses(self, train)
        self._parts, self._part_steps = {}, 0

    def train(self, *arguments: Any, **options: Any) -> Any:
        """Train as `transformers.Trainer` does, then switch the encoder to inference mode (no dropout).

        If the run saves checkpoints, saving is tried before the first step, so that it does not fail after an hour.
        """
        try_metric(self)
        try_saving(self)
        self.card.evaluations.weights_change()
        try:
            return super().train(*arguments, **options)
        finally:
            self.encoder.network.eval()

    # -- data --------------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader:
        """Return a loader of the batches of an epoch."""
        self.accelerator.even_batches = False
        return self._prepared(batches(self.train_dataset, self.args, self.args.train_batch_size, train=True))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Return a loader of the batches of held-out rows."""
        if isinstance(eval_dataset, str):
            eval_dataset = self.eval_dataset[eval_dataset]
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if rows is not self.eval_dataset and not isinstance(rows, PREPARED):
            rows = prepare_rows(rows, self.model, self.args, self.losses, held_out=True)
        if isinstance(rows, list):
            return DataLoader(rows)  # type: ignore[arg-type]
        self.accelerator.even_batches = True
        return self._prepared(batches(rows, self.args, self.args.eval_batch_size, train=False))

    def _prepared(self, loader: DataLoader) -> Any:
        """Let accelerate distribute the batches to the processes; a stream divides its own."""
        if not isinstance(loader.dataset, StreamedRows | ChainedRows):
            return self.accelerator.prepare(loader)
        options = {"num_processes": 1, "process_index": 0, "dispatch_batches": False}
        return prepare_data_loader(loader, self.accelerator.device, put_on_device=True, **options)

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, epochs: int, checkpoint: Any, *others: Any
    ) -> tuple[int, int]:
        position = super()._init_training_state(max_steps, steps_per_epoch, epochs, checkpoint, *others)
        if not checkpoint or self.args.ignore_data_skip or not isinstance(self.train_dataset, StreamedRows):
            return position
        return position_in_stream(Path(checkpoint), self.args)

    # -- loss and gradients ------------------------------------------------------------------------------------------

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        """Run forward and backward; average the gradients of all processes before the optimizer's step."""
        loss = super().training_step(*arguments, **options)
        if self._averages and self.accelerator.sync_gradients:
            average_gradients(self.loss_modules.parameters())
        if self.is_fsdp_enabled and self.accelerator.sync_gradients:
            fill_gradients(self.encoder.network)
        return loss

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch; the parts of a loss are logged by name."""
        loss_fn = self.losses[inputs["dataset"] if None not in self.losses else None]
        if model is not self.model:  # wrapped, for example by DistributedDataParallel
            _replace_model(loss_fn, self.model, model)
        loss = loss_fn(inputs["columns"], inputs["labels"])
        if isinstance(loss, dict):
            if self.model.training:
                self._part_steps += 1
                for name, value in loss.items():
                    self._parts[name] = self._parts.get(name, torch.zeros((), device=value.device)) + value.detach()
            loss = torch.stack(list(loss.values())).sum()
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a held-out batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, adding the means of the loss's parts since the last log."""
        if "loss" in logs and self._part_steps:
            logs = logs | {name: round(float(value) / self._part_steps, 6) for name, value in self._parts.items()}
            self._parts, self._part_steps = {}, 0
            for callback in self.callback_handler.callbacks:
                logs |= callback.weights() if isinstance(callback, RegularizerSchedule) else {}
        super().log(logs, start_time)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create the optimizer of all parameters of the losses, including the model's, with their learning rates."""
        if self.optimizer is None:
            try:
                optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args)
            except (ImportError, ValueError) as error:
                name = getattr(self.args.optim, "value", self.args.optim)
                raise InputError(f"optim={name!r}: {' '.join(str(error).split())}") from error
            owner: nn.Module = self.losses.get(None, self.loss_modules)
            groups = parameter_groups(owner, set(self.get_decay_parameter_names(owner)), self.args)
            self.optimizer = optimizer_class(groups, **settings)
        return self.optimizer

    # -- evaluation, saving ------------------------------------------------------------------------------------------

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Return the loss on held-out rows and the metrics of the evaluators."""
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if not self.evaluators:
            return output
        for evaluator, figures in zip(self.evaluators, self._evaluated(), strict=True):
            metrics = {f"{metric_key_prefix}_{name}": float(value) for name, value in figures.items()}
            recorded = {name for names in self.card.evaluations.stepped.values() for name in names}
            if recorded.isdisjoint(figures):
                self.card.set_evaluation_metrics(evaluator, figures, self.state.epoch or 0, self.state.global_step)
            output = output._replace(metrics={**(output.metrics or {}), **metrics})
        return output

    def _evaluated(self) -> list[Mapping[str, float]]:
        """Return the figures of each evaluator."""
        from pipelines.evaluation.evaluators.shared import shared_encodings

        folder = Path(str(self.args.output_dir)) / "eval"
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.network.eval()
        with shared_encodings(), whole_weights(self.encoder.network):
            position = {"epoch": self.state.epoch or 0, "steps": self.state.global_step}
            results = [evaluator(self.encoder, str(folder), **position) for evaluator in self.evaluators]
        return [result if isinstance(result, Mapping) else {"evaluator": result} for result in results]

    def figures_of_evaluators(self) -> set[str]:
        """Return the names of the evaluators' figures, as an evaluation logs them, from one evaluation."""
        known = [getattr(evaluator, "primary_metric", None) for evaluator in self.evaluators]
        wanted = str(self.args.metric_for_best_model).removeprefix("eval_")
        if wanted in known:
            return {f"eval_{wanted}"}
        return {f"eval_{name}" for figures in self._evaluated() for name in figures}

    def init_hf_repo(self, *arguments: Any, **options: Any) -> None:
        """Create the repository of `push_to_hub`, before the training.

        Raises
        ------
        InputError
            When the Hub cannot be reached, or refuses.
        """
        try:
            super().init_hf_repo(*arguments, **options)
        except Exception as error:  # The Hub's library raises its own errors, and those of its HTTP client.
            raise InputError(
                f"push_to_hub: no repository can be created ({' '.join(str(error).split())[:200]}): log in with "
                "`hf auth login`, connect to the network, or leave push_to_hub out"
            ) from error

    def save_model(self, output_dir: str | None = None, *arguments: Any, **options: Any) -> None:
        """Save the model; the processes among which its weights are divided first gather them."""
        if not is_sharded(self.encoder.network):
            return super().save_model(output_dir, *arguments, **options)
        with whole_weights(self.encoder.network):
            self._save(output_dir)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(str(output_dir or self.args.output_dir))
        fill_card(self.card, self)
        write_into(folder, self.encoder.save, keep=["README.md"] if is_by_hand(folder / "README.md") else [])
        (folder / ARGUMENTS_FILE).write_text(json.dumps(self.args.to_dict(), indent=2, default=str) + "\n", "utf-8")

    def save(self, path: str | Path | None = None) -> Path:
        """Save the current model and its card to `path`, by default ``final`` in the output folder; return the folder.

        After a run with `load_best_model_at_end` this is the best model.
        """
        folder = Path(str(self.args.output_dir)) / FINAL if path is None else local_path(path, "path")
        with whole_weights(self.encoder.network):
            self._save(str(folder))
        return folder

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.load_weights(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        logger.info("the best model is that of %s", self.state.best_model_checkpoint)
        self.load_weights(str(self.state.best_model_checkpoint))

    def load_weights(self, folder: str) -> None:
        """Load the weights of a saved encoder into the encoder in training."""
        self.card.evaluations.weights_change()
        load_whole(self.encoder.network, self.saved_weights(folder))

    def saved_weights(self, folder: str | Path) -> dict[str, Any]:
        """Return the weights of a saved encoder, which is loaded with the arguments of the one in training."""
        arguments = self.encoder.load_arguments | {"dtype": "float32", "revision": None, "compile": False}  # type: ignore[attr-defined]
        weights: dict[str, Any] = type(self.encoder)(folder, device="cpu", **arguments).network.state_dict()
        return weights


class DenseTrainer(Trainer):
    """Trainer of a `DenseEncoder`."""


class SparseTrainer(Trainer):
    """Trainer of a `SparseEncoder`."""

    args: SparseTrainingArguments


class MultiVectorTrainer(Trainer):
    """Trainer of a `MultiVectorEncoder`."""

    args: MultiVectorTrainingArguments


class RerankerTrainer(Trainer):
    """Trainer of a `CrossEncoder`."""


def last_checkpoint(output_dir: str | Path) -> str | None:
    """Return the newest complete checkpoint of a run, or None."""
    checkpoints = [
        (int(folder.name.rpartition("-")[2]), folder)
        for folder in Path(output_dir).glob("checkpoint-*")
        if folder.name.rpartition("-")[2].isdecimal() and (folder / "trainer_state.json").is_file()
    ]
    return str(max(checkpoints)[1]) if checkpoints else None


def _set_dropout(model: nn.Module, probability: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = probability  # type: ignore[assignment]


def _replace_model(loss: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace the model `old` by `new` in a loss and its inner losses."""
    for name, child in list(loss.named_children()):
        if child is old:
            setattr(loss, name, new)
        elif child is not new:
            _replace_model(child, old, new)
