"""What happens beside the steps of training."""

from typing import Any

from transformers import TrainerCallback

from pipelines.training.losses.splade import SpladeLoss


class RegularizerSchedule(TrainerCallback):
    """Raises the weights of SPLADE's regularisers from 0 to their own over the first steps.

    With all of it from the start, a model learns to give no terms before it has learnt which are worth their price.

    Parameters
    ----------
    loss
        Whose weights are raised.
    warmup_ratio
        The share of all steps that it takes.
    schedule
        "quadratic", as in SPLADE, or "linear".
    """

    def __init__(self, loss: SpladeLoss, *, warmup_ratio: float = 1 / 3, schedule: str = "quadratic") -> None:
        self._loss, self._ratio, self._power = loss, warmup_ratio, 2 if schedule == "quadratic" else 1
        self._document, self._query = loss.document_regularizer_weight, loss.query_regularizer_weight

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Begin at the weight of this step."""
        self._set(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Set the weights of this step."""
        self._set(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Leave the loss as it was given."""
        self._loss.document_regularizer_weight, self._loss.query_regularizer_weight = self._document, self._query

    def weights(self) -> dict[str, float]:
        """Give the weights as they are now, for the log."""
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
