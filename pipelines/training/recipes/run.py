"""Run a training: arguments, trainer, resuming from checkpoints, the final model and the report."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indexing.disk import write_json
from indexing.errors import InputError, StorageError
from indexing.json_text import read_json_object
from indexing.plurals import counted
from pipelines.training import TRIAL
from pipelines.training.recipes.inference_free import arguments_for
from pipelines.training.recipes.losses import batch_size_of
from pipelines.training.recipes.processes import is_main
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles, task_of_column

logger = logging.getLogger(__name__)

SETTINGS_FILE = "recipe.json"
SUMMARY_FILE = "summary.json"
INITIAL_MODEL = "start"
"""Folder of the initial model within the output folder, if it had to be built."""
LEARNING_RATE, NEW_HEAD_LEARNING_RATE, TOKEN_LEARNING_RATE = 2e-5, 2e-4, 5e-5
"""Default learning rates: of models, of cross-encoders with a new head, and of multi-vector encoders."""
# Files that every run writes anew before training.
_PREPARATORY_FILES = {SETTINGS_FILE, INITIAL_MODEL, TRIAL, "split.json"}
# Files that a finished run leaves beside its model.
_REPORTS = (SUMMARY_FILE, "comparison.json")
# Settings that do not change the resulting model.
_IGNORED_SETTINGS = {"resume", "output"}


@dataclass
class TrainReport:
    """Report of a training run.

    Parameters
    ----------
    folder
        Folder of the trained model.
    before, after
        Figures of the evaluators; empty without evaluation.
    primary
        Name of the figure that selects the best checkpoint.
    """

    kind: Kind
    folder: Path
    rows: int
    steps: int
    seconds: float
    loss: str
    last_loss: float | None = None
    resumed_from: int = 0
    primary: str | None = None
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.folder}: {counted(self.steps, 'step')} over {counted(self.rows, 'row')} in "
            f"{self.seconds / 60:.1f} min"
        ]
        if self.resumed_from:
            lines[0] += f" (resumed from step {self.resumed_from:,})"
        lines.append(f"  {self.loss}" + (f", at the end {self.last_loss:.4f}" if self.last_loss is not None else ""))
        if self.primary and self.primary in self.after:
            was = f"{self.before[self.primary]:.4f} before, " if self.primary in self.before else ""
            lines.append(f"  {self.primary}: {was}{self.after[self.primary]:.4f} after")
        for name in ("query_active_dims", "corpus_active_dims"):
            figure = next((value for key, value in self.after.items() if key.endswith(name)), None)
            if figure is not None:
                lines.append(f"  {name}: {figure:.1f}")
        lines.append(f"  the model card: {self.folder / 'README.md'}")
        return "\n".join(lines)


_OTHER_FOLDER = "choose another output folder (--output), or delete that one"


def claim_folder(output: Path, settings: TrainSettings, kind: str, **more: Any) -> None:
    """Create the output folder of a run and record its settings, or accept the folder of the same run.

    A run whose settings differ only in a larger number of steps or epochs is continued: its reports are removed.

    Raises
    ------
    StorageError
        If the folder holds a run with other settings, or other files.
    """
    values = {"kind": kind, **asdict(settings), **more}
    values = json.loads(json.dumps({name: value for name, value in values.items() if name not in _IGNORED_SETTINGS}))
    path = output / SETTINGS_FILE
    if path.is_file() and {entry.name for entry in output.iterdir()} <= _PREPARATORY_FILES:
        # Wrong settings may have stopped the run before training; the corrected ones replace them.
        write_json(path, values)
        return
    if path.is_file() and settings.resume:
        recorded = read_json_object(path, _OTHER_FOLDER)
        different = [name for name in values if recorded.get(name) != values[name]]
        name = _length_name(values)
        if different == [_length_name(recorded)] == [name] and isinstance(recorded.get(name), int | float):
            if values[name] < recorded[name]:
                raise StorageError(
                    f"{output} holds a run with {name} {recorded[name]}, which can be lengthened but not shortened to "
                    f"{values[name]}: choose another output folder (--output)"
                )
            for report in _REPORTS:
                (output / report).unlink(missing_ok=True)
            write_json(path, values)
        elif different:
            raise StorageError(
                f"{output} holds a run with another {', '.join(different)} ({path.name}): choose another output folder "
                "(--output)"
            )
        return
    if output.is_dir() and any(output.iterdir()):
        raise StorageError(f"{output} exists already: choose another output folder (--output), or delete that one")
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


def _length_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the setting that decides the length of a run."""
    steps = settings.get("max_steps", -1)
    return "max_steps" if isinstance(steps, int) and steps > 0 else "epochs"


def load_report(output: Path) -> TrainReport | None:
    """Return the report of a finished run, else None."""
    path = output / SUMMARY_FILE
    if not path.is_file():
        return None
    values = read_json_object(path, _OTHER_FOLDER)
    try:
        return TrainReport(**values | {"folder": Path(values["folder"])})
    except (TypeError, KeyError) as error:
        raise StorageError(f"{path} is damaged ({error!r}): {_OTHER_FOLDER}") from error


def run_training(
    kind: Kind,
    encoder: Any,
    settings: TrainSettings,
    rows: Any,
    *,
    loss: Any,
    eval_rows: Any = None,
    evaluators: Sequence[Any] = (),
    card: Any = None,
) -> TrainReport:
    """Train, from the newest checkpoint if there is one, and write the model to ``final``.

    With evaluators or `eval_rows`, the model is evaluated before training and at each checkpoint, and the best
    checkpoint becomes the final model: by the first evaluator's primary figure, else by the loss.
    """
    from pipelines.model_card.log import figures_at
    from pipelines.training.trainer import (
        DenseTrainer,
        MultiVectorTrainer,
        RerankerTrainer,
        SparseTrainer,
        last_checkpoint,
    )

    output = Path(settings.output)
    trainer_class: Any = {
        "dense": DenseTrainer,
        "sparse": SparseTrainer,
        "multi-vector": MultiVectorTrainer,
        "reranker": RerankerTrainer,
    }[kind]
    is_evaluated = bool(evaluators) or eval_rows is not None
    primary = evaluators[0].primary_metric if evaluators else "loss" if is_evaluated else None
    if evaluators and primary is None:
        # The name of the primary figure depends on the model's similarity, so it is unknown until the first call.
        evaluators[0](encoder)
        primary = evaluators[0].primary_metric
    trainer: Any = trainer_class(
        encoder,
        make_arguments(kind, encoder, settings, primary, rows, greater_is_better=bool(evaluators)),
        rows,
        eval_rows,
        loss=loss,
        evaluator=list(evaluators) or None,
        card=card,
    )
    newest = last_checkpoint(output) if settings.resume else None
    state = load_completed_state(output, newest, trainer.args)
    if state is not None:
        # Resuming would take one more step.
        trainer.state = state
        trainer.load_weights(state.best_model_checkpoint or newest)
    else:
        if newest:
            logger.info("resuming from %s", newest)
        trainer.train(resume_from_checkpoint=newest)
        trainer.save_state()
    steps = trainer.state.global_step
    if settings.matryoshka:
        _fit_last_layer(trainer, settings, rows, is_evaluated=is_evaluated)
    folder = trainer.save()
    history = trainer.state.log_history
    best = str(trainer.state.best_model_checkpoint or "").rpartition("-")[2]
    report = TrainReport(
        kind,
        folder,
        rows=len(rows),
        steps=steps,
        seconds=next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), 0.0),
        loss=type(loss).__name__,
        last_loss=next((entry["loss"] for entry in reversed(history) if "loss" in entry), None),
        resumed_from=int(newest.rpartition("-")[2]) if newest else 0,
        primary=primary,
        before=figures_at(history, 0),
        after=figures_at(history, int(best) if best.isdecimal() else trainer.state.global_step),
    )
    if is_main():
        write_json(output / SUMMARY_FILE, asdict(report) | {"folder": str(folder)})
    return report


def _fit_last_layer(trainer: Any, settings: TrainSettings, rows: Any, *, is_evaluated: bool) -> None:
    """Fit the rotation layer once more, and evaluate the result as one more step."""
    from pipelines.training.recipes.last_layer import fit_last_layer

    trainer.encoder.network.eval()
    computing = trainer.accelerator.autocast()
    fit = fit_last_layer(trainer.encoder, settings.matryoshka or (), rows, seed=settings.seed, computing=computing)
    if fit is None or fit[1] <= fit[0]:
        return
    trainer.card.evaluations.weights_change()
    trainer.state.best_model_checkpoint = None  # The model is no longer that of the checkpoint.
    if is_evaluated:
        trainer.state.global_step += 1
        trainer.evaluate()


def load_completed_state(output: Path, newest: str | None, arguments: Any) -> Any:
    """Return the trainer's state if all steps are done, even if the final model was not written; else None.

    Parameters
    ----------
    output
        The run's folder.
    newest
        Its newest checkpoint.
    arguments
        Arguments of this run, which may be longer than the one that wrote the state.
    """
    from transformers import TrainerState

    for folder in (output, Path(newest)) if newest else ():
        path = folder / "trainer_state.json"
        if path.is_file():
            state = TrainerState.load_from_json(str(path))
            steps, epochs = arguments.max_steps, arguments.num_train_epochs
            is_long_enough = state.global_step >= steps if steps > 0 else (state.epoch or 0) + 1e-6 >= epochs
            if state.global_step >= state.max_steps and is_long_enough:
                return state
    return None


def learning_rate(kind: Kind, model: str) -> float:
    """Return the default learning rate, which is higher for multi-vector encoders and new cross-encoders.

    A cross-encoder made from an encoder has a new head, and the encoder has never seen a query together with a
    document; docs/training.md has the results.
    """
    from pipelines.training.recipes.classification_head import is_cross_encoder

    if kind == "multi-vector":
        return TOKEN_LEARNING_RATE
    is_new = kind == "reranker" and not is_cross_encoder(model)
    return NEW_HEAD_LEARNING_RATE if is_new else LEARNING_RATE


def task_prompts(encoder: Any, inputs: Sequence[str]) -> dict[str, str]:
    """Return the prompt of each column that has one: an encoder's queries and documents begin with these markers."""
    prompts = {name: encoder.resolve_prompt(None, task_of_column(position)) for position, name in enumerate(inputs)}
    return {name: prompt for name, prompt in prompts.items() if prompt}


def make_arguments(
    kind: Kind, encoder: Any, settings: TrainSettings, primary: str | None, rows: Any, *, greater_is_better: bool
) -> Any:
    """Return the training arguments for these settings.

    Raises
    ------
    InputError
        For an unknown name in the setting ``arguments``.
    """
    from dataclasses import fields

    from pipelines.training.arguments import (
        DenseTrainingArguments,
        MultiVectorTrainingArguments,
        RerankerTrainingArguments,
        SparseTrainingArguments,
    )
    from retrieve.encoders.kernels.precision import has_fast_bfloat16

    argument_class: Any = {
        "dense": DenseTrainingArguments,
        "sparse": SparseTrainingArguments,
        "multi-vector": MultiVectorTrainingArguments,
        "reranker": RerankerTrainingArguments,
    }[kind]
    known = {field.name for field in fields(argument_class)}
    if unknown := [name for name in settings.arguments if name not in known]:
        raise InputError(f"arguments: the trainer has none named {unknown[0]!r}; there are {', '.join(sorted(known))}")
    columns = roles(rows.column_names)
    batch_size = batch_size_of(kind, settings, rows)
    steps = settings.max_steps if settings.max_steps > 0 else settings.epochs * -(-len(rows) // batch_size)
    checkpoint_steps = max(1, int(steps / settings.checkpoints))
    arguments: dict[str, Any] = {
        "output_dir": settings.output,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": batch_size,
        "learning_rate": settings.lr
        or (NEW_HEAD_LEARNING_RATE if settings.lora is not None else learning_rate(kind, settings.model)),
        "warmup_steps": int(settings.warmup * steps),
        "seed": settings.seed,
        "bf16": has_fast_bfloat16(encoder.device) if settings.bf16 is None else settings.bf16,
        "use_cpu": encoder.device.type == "cpu",
        # On a CPU dropout takes a quarter of each step, and one pass over the rows hardly overfits.
        "dropout": 0.0 if settings.dropout is None and encoder.device.type == "cpu" else settings.dropout,
        "logging_steps": max(1, int(steps / 50)),
        "save_strategy": "steps",
        "save_steps": checkpoint_steps,
        "save_total_limit": 2,
        "report_to": [],
        # By default, transformers shows no progress bar at the log level that the command sets.
        "disable_tqdm": False,
    }
    if kind != "reranker" and columns.label is None:
        # Other rows are negatives; with repeated texts they could be positives.
        arguments["batch_sampler"] = "no_duplicates"
    arguments |= arguments_for(encoder, columns.inputs)
    if kind == "multi-vector" and (prompts := task_prompts(encoder, columns.inputs)):
        arguments["prompts"] = prompts
    if primary is not None:
        arguments |= {
            "eval_strategy": "steps",
            "eval_steps": checkpoint_steps,
            "eval_on_start": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{primary}",
            "greater_is_better": greater_is_better,
        }
    try:
        return argument_class(**arguments | dict(settings.arguments))
    except (ValueError, TypeError, ImportError) as error:
        raise InputError(f"arguments: {' '.join(str(error).split())}") from error
