"""Trainer callbacks."""

from typing import Any

from transformers import TrainerCallback

from pipelines.training.losses.splade import SpladeLoss


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
