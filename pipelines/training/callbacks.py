"""Trainer callbacks."""

import sys
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

from indexing.progress import Progress, progress
from pipelines.training.arguments import SparseTrainingArguments
from pipelines.training.losses.splade import SpladeLoss


def add_callbacks(trainer: Any) -> None:
    """Add the schedules of a trainer's losses; without a terminal, show its progress as lines."""
    args = trainer.args
    options: dict[str, Any] = {}
    if isinstance(args, SparseTrainingArguments):
        options = {"warmup_ratio": args.regularizer_warmup_ratio, "schedule": args.regularizer_schedule}
    for module in trainer.loss_modules.modules():
        if isinstance(module, SpladeLoss):
            trainer.add_callback(RegularizerSchedule(module, **options))
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not terminal and trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(ProgressInLog())


class ProgressInLog(TrainerCallback):
    """Callback that writes the progress of training and evaluation to a log, and prints what the trainer logs.

    It stands in for transformers' bar, which is redrawn by carriage returns.
    """

    _bar: Progress | None = None
    _evaluation: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Start to count steps."""
        if state.is_world_process_zero:
            self._bar, self._done = progress(total=state.max_steps, desc="training", unit="step").__enter__(), 0

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Count the steps since the last call."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._done)
            self._done = state.global_step

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **more: Any) -> None:
        """Count a batch of held-out rows."""
        if state.is_world_process_zero:
            if self._evaluation is None:
                total = len(eval_dataloader) if hasattr(eval_dataloader, "__len__") else None
                self._evaluation = progress(total=total, desc="evaluating", unit="step").__enter__()
            self._evaluation.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """End the count of batches."""
        if self._evaluation is not None:
            self._evaluation.__exit__(None, None, None)
        self._evaluation = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Print the logged values."""
        if state.is_world_process_zero and logs:
            values = {name: _rounded(value) for name, value in logs.items() if name != "total_flos"}
            sys.stdout.write(f"{values}\n")
            sys.stdout.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Write the last line."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


class RegularizerSchedule(TrainerCallback):
    """Callback that raises the weights of SPLADE's regularizers from 0 to their full values over the first steps.

    At full weight from the start, a model learns to produce no terms before it learns which terms are useful.

    Parameters
    ----------
    loss
        The loss whose weights are raised.
    warmup_ratio
        Share of all steps over which they rise.
    schedule
        "quadratic", as in SPLADE, or "linear".
    """

    def __init__(self, loss: SpladeLoss, *, warmup_ratio: float = 1 / 3, schedule: str = "quadratic") -> None:
        self._loss, self._ratio, self._power = loss, warmup_ratio, 2 if schedule == "quadratic" else 1
        self._document, self._query = loss.document_regularizer_weight, loss.query_regularizer_weight

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Set the weights of the first step."""
        self._set(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Set the weights of this step."""
        self._set(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Restore the full weights."""
        self._loss.document_regularizer_weight, self._loss.query_regularizer_weight = self._document, self._query

    def weights(self) -> dict[str, float]:
        """Return the current weights, for the log."""
        weights = {"document_regularizer_weight": self._loss.document_regularizer_weight}
        if self._loss.query_regularizer_weight is not None:
            weights["query_regularizer_weight"] = self._loss.query_regularizer_weight
        return weights

    def _set(self, state: Any) -> None:
        steps = max(1, int(state.max_steps * self._ratio))
        share = min(1.0, state.global_step / steps) ** self._power
        self._loss.document_regularizer_weight = self._document * share
        if self._query is not None:
            self._loss.query_regularizer_weight = self._query * share
