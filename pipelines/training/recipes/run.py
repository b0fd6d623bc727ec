"""A training run: data, loss, evaluator, trainer, checkpoints that a stopped run goes on from, the model at the end."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indexing.disk import write_json
from indexing.errors import InputError, StorageError
from pipelines.training.recipes.inference_free import arguments_for
from pipelines.training.recipes.losses import rows_a_step
from pipelines.training.recipes.processes import is_main
from pipelines.training.recipes.settings import Kind, TrainSettings

logger = logging.getLogger(__name__)

SETTINGS_FILE = "recipe.json"
SUMMARY_FILE = "summary.json"
START = "start"
"""The folder of the model to begin with, where it had to be made."""
LEARNING_RATE, NEW_HEAD_LEARNING_RATE = 2e-5, 2e-4
"""Of what was trained for its task before, and of a cross-encoder whose head is new."""
# What is made anew in any case.
_QUICKLY_MADE = {SETTINGS_FILE, START, "split.json"}
# Of how a run goes on, not of what it makes.
_OF_THIS_CALL = {"resume", "output"}


@dataclass
class TrainReport:
    """What a run did.

    Parameters
    ----------
    folder
        Of the model.
    before, after
        Figures of the evaluators; empty where there was none.
    primary
        The figure that counts.
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
        lines = [f"{self.folder}: {self.steps:,} steps over {self.rows:,} rows in {self.seconds / 60:.1f} min"]
        if self.resumed_from:
            lines[0] += f" (went on from step {self.resumed_from:,})"
        lines.append(f"  {self.loss}" + (f", at the end {self.last_loss:.4f}" if self.last_loss is not None else ""))
        if self.primary and self.primary in self.after:
            was = f"{self.before[self.primary]:.4f} before, " if self.primary in self.before else ""
            lines.append(f"  {self.primary}: {was}{self.after[self.primary]:.4f} after")
        for name in ("query_active_dims", "corpus_active_dims"):
            found = next((value for key, value in self.after.items() if key.endswith(name)), None)
            if found is not None:
                lines.append(f"  {name}: {found:.1f}")
        lines.append(f"  the model card: {self.folder / 'README.md'}")
        return "\n".join(lines)


def claim(output: Path, settings: TrainSettings, kind: str, **more: Any) -> None:
    """Take a folder for a run; refuse one that holds another run's.

    Raises
    ------
    StorageError
        When the folder holds a run of other settings, or something else.
    """
    told = {"kind": kind, **asdict(settings), **more}
    told = json.loads(json.dumps({name: value for name, value in told.items() if name not in _OF_THIS_CALL}))
    path = output / SETTINGS_FILE
    if path.is_file() and {entry.name for entry in output.iterdir()} <= _QUICKLY_MADE:
        # An error in the settings may have ended it; put right, they are others.
        write_json(path, told)
        return
    if path.is_file() and settings.resume:
        known = json.loads(path.read_text("utf-8"))
        other = [name for name in told if known.get(name) != told[name]]
        if other:
            raise StorageError(
                f"{output} holds a run with another {', '.join(other)} ({path.name}): name another folder for --output"
            )
        return
    if output.is_dir() and any(output.iterdir()):
        raise StorageError(f"{output} is there already: name another folder for --output, or delete that one")
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, told)


def finished(output: Path) -> TrainReport | None:
    """Give the report of a run that ended; None of one that did not."""
    path = output / SUMMARY_FILE
    if not path.is_file():
        return None
    told = json.loads(path.read_text("utf-8"))
    return TrainReport(**told | {"folder": Path(told["folder"])})


def run_training(
    kind: Kind,
    encoder: Any,
    settings: TrainSettings,
    rows: Any,
    *,
    loss: Any,
    eval_rows: Any = None,
    evaluators: Sequence[Any] = (),
    greater_is_better: bool = True,
    card: Any = None,
) -> TrainReport:
    """Train, from the newest checkpoint where there is one, and write the model to ``final``.

    With evaluators or `eval_rows` the model is evaluated before, at each checkpoint and after, and the best is kept:
    by the first evaluator's primary figure, else by the loss.
    """
    from pipelines.model_card.log import figures_at
    from pipelines.training.trainer import DenseTrainer, RerankerTrainer, SparseTrainer, last_checkpoint

    output = Path(settings.output)
    trainer_class = {"dense": DenseTrainer, "sparse": SparseTrainer, "reranker": RerankerTrainer}[kind]
    is_evaluated = bool(evaluators) or eval_rows is not None
    primary = evaluators[0].primary_metric if evaluators else "loss" if is_evaluated else None
    if evaluators and primary is None:
        # An evaluator names its primary figure when it is first called; its name depends on the model's similarity.
        evaluators[0](encoder)
        primary = evaluators[0].primary_metric
    trainer: Any = trainer_class(
        encoder,
        arguments_of(kind, encoder, settings, primary, rows, greater_is_better=greater_is_better and bool(evaluators)),
        rows,
        eval_rows,
        loss=loss,
        evaluator=list(evaluators) or None,
        card=card,
    )
    newest = last_checkpoint(output) if settings.resume else None
    state = ended(output, newest)
    if state is not None:
        # Resumed, it would take one more step.
        trainer.state = state
        trainer.load_weights(state.best_model_checkpoint or newest)
    else:
        if newest:
            logger.info("going on from %s", newest)
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
    """Fit what turns the vectors once more, and evaluate that as one more step."""
    from pipelines.training.recipes.last_layer import fit_last_layer

    trainer.encoder.network.eval()
    computing = trainer.accelerator.autocast()
    fit = fit_last_layer(trainer.encoder, settings.matryoshka or (), rows, seed=settings.seed, computing=computing)
    if fit is None or fit[1] <= fit[0]:
        return
    trainer.card.evaluations.weights_change()
    trainer.state.best_model_checkpoint = None  # It is another model now.
    if is_evaluated:
        trainer.state.global_step += 1
        trainer.evaluate()


def ended(output: Path, newest: str | None) -> Any:
    """Give the trainer's state when all steps were done, whether or not the model was written; else None."""
    from transformers import TrainerState

    for folder in (output, Path(newest)) if newest else ():
        path = folder / "trainer_state.json"
        if path.is_file():
            state = TrainerState.load_from_json(str(path))
            if state.global_step >= state.max_steps:
                return state
    return None


def learning_rate(kind: Kind, model: str) -> float:
    """Give the learning rate by default: higher where a cross-encoder is made of an encoder.

    Its head is new and the encoder has never read a query beside a document; docs/training.md has what it reaches.
    """
    from pipelines.training.recipes.classification_head import is_cross_encoder

    is_new = kind == "reranker" and not is_cross_encoder(model)
    return NEW_HEAD_LEARNING_RATE if is_new else LEARNING_RATE


def arguments_of(
    kind: Kind, encoder: Any, settings: TrainSettings, primary: str | None, rows: Any, *, greater_is_better: bool
) -> Any:
    """Turn settings into the trainer's arguments.

    Raises
    ------
    InputError
        For a name under ``arguments`` that the trainer does not have.
    """
    from dataclasses import fields

    from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments, SparseTrainingArguments
    from pipelines.training.roles import roles
    from retrieve.encoders.kernels.precision import has_fast_bfloat16

    argument_class: Any = {
        "dense": DenseTrainingArguments,
        "sparse": SparseTrainingArguments,
        "reranker": RerankerTrainingArguments,
    }[kind]
    known = {one.name for one in fields(argument_class)}
    unknown = [name for name in settings.arguments if name not in known]
    if unknown:
        raise InputError(f"arguments: the trainer has none named {unknown[0]!r}; there are {', '.join(sorted(known))}")
    found = roles(rows.column_names)
    batch_size = rows_a_step(kind, settings, rows)
    steps = settings.max_steps if settings.max_steps > 0 else settings.epochs * -(-len(rows) // batch_size)
    every = max(1, int(steps / settings.checkpoints))
    told: dict[str, Any] = {
        "output_dir": settings.output,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": batch_size,
        "learning_rate": settings.lr or learning_rate(kind, settings.model),
        "warmup_steps": int(settings.warmup * steps),
        "seed": settings.seed,
        "bf16": has_fast_bfloat16(encoder.device) if settings.bf16 is None else settings.bf16,
        "use_cpu": encoder.device.type == "cpu",
        # On a processor dropout takes a quarter of each step; in one pass over the rows there is little to overfit.
        "dropout": 0.0 if settings.dropout is None and encoder.device.type == "cpu" else settings.dropout,
        "logging_steps": max(1, int(steps / 50)),
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "report_to": [],
        # Silenced transformers would show neither a bar nor the log.
        "disable_tqdm": False,
    }
    # A document of another row may be right for this one, when texts repeat.
    takes_others = kind != "reranker" and found.label is None
    told |= {"batch_sampler": "no_duplicates"} if takes_others else {}
    told |= arguments_for(encoder, found.inputs)
    if primary is not None:
        told |= {
            "eval_strategy": "steps",
            "eval_steps": every,
            "eval_on_start": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{primary}",
            "greater_is_better": greater_is_better,
        }
    return argument_class(**told | dict(settings.arguments))
