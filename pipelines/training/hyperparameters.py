"""Search of hyperparameters with optuna: each trial trains a new model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from indexing.errors import InputError
from indexing.inputs import whole_number
from pipelines.training.arguments import TrainingArguments
from pipelines.training.trainer import DenseTrainer, Trainer


class BestRun(NamedTuple):
    """The best trial, with the names of transformers' result."""

    run_id: str
    objective: float
    hyperparameters: dict[str, Any]
    study: Any


def hyperparameter_search(
    model_init: Callable[[Any], Any],
    args: TrainingArguments,
    train_dataset: Any,
    eval_dataset: Any = None,
    *,
    loss: Callable[[Any], Any],
    hp_space: Callable[[Any], Mapping[str, Any]],
    evaluator: Any = None,
    n_trials: int = 20,
    direction: Literal["minimize", "maximize"] = "minimize",
    compute_objective: Callable[[Mapping[str, float]], float] | None = None,
    trainer: type[Trainer] = DenseTrainer,
    study: Any = None,
) -> BestRun:
    """Train with several sets of hyperparameters, and return the best.

    Parameters
    ----------
    model_init
        Function from a trial to a new encoder, so that it may choose the model too.
    args
        Arguments of each training; trial N writes to ``run-N`` in its output folder.
    loss
        Function from an encoder to its loss.
    hp_space
        Function from a trial to the arguments to change, as ``{"learning_rate": trial.suggest_float("learning_rate",
        1e-6, 1e-4, log=True)}``.
    direction, compute_objective
        Whether a smaller or larger value is better, and the value of an evaluation's figures; by default
        ``eval_loss``, or the figure of `metric_for_best_model`.
    study
        A study of optuna to continue, with its storage and sampler.

    Raises
    ------
    InputError
        Without optuna, for an unknown argument, or for figures without the one to compare.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("hyperparameter_search needs optuna: pip install 'retrieve-rerank[tune]'") from error
    n_trials = whole_number(n_trials, "n_trials")
    study = study or optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=args.seed))

    def objective(trial: Any) -> float:
        chosen = dict(hp_space(trial))
        if unknown := [name for name in chosen if not hasattr(args, name)]:
            raise InputError(f"hp_space sets {unknown[0]!r}, which {type(args).__name__} does not have")
        output = str(Path(str(args.output_dir)) / f"run-{trial.number}")
        encoder = model_init(trial)
        run = trainer(
            encoder,
            replace(args, output_dir=output, **chosen),
            train_dataset,
            eval_dataset,
            loss=loss(encoder),
            evaluator=evaluator,
        )
        run.train()
        return _value(run.evaluate(), args, compute_objective)

    study.optimize(objective, n_trials=n_trials)
    best = study.best_trial
    return BestRun(str(best.number), float(best.value), dict(best.params), study)


def _value(
    figures: Mapping[str, float], args: TrainingArguments, compute: Callable[[Mapping[str, float]], float] | None
) -> float:
    if compute is not None:
        return float(compute(figures))
    wanted = args.metric_for_best_model or "loss"
    name = wanted if wanted.startswith("eval_") else f"eval_{wanted}"
    if name not in figures:
        raise InputError(
            f"the evaluation has no {name}: set metric_for_best_model or compute_objective; it has "
            f"{', '.join(sorted(figures))}"
        )
    return float(figures[name])
