"""Settings of a training run, read from a YAML file and command-line flags."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from indexing.errors import InputError

Kind: TypeAlias = Literal["dense", "sparse", "reranker"]


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
    epochs, max_steps
        Length of the run; max_steps takes precedence over epochs.
    batch_size
        Rows per step. Default: 32; 8 for a reranker whose rows hold several documents; 128 for (query, positive[,
        negative …]) rows of a dense encoder when there are 2,560 or more and no loss is named.
    lr
        Learning rate. Default: 2e-5; 2e-4 for a cross-encoder made from an encoder.
    warmup
        Share of the steps over which the learning rate rises.
    dropout
        Dropout of all layers. Default: 0 on a CPU, else the model's own.
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
    epochs: float = 1.0
    max_steps: int = -1
    batch_size: int | None = None
    lr: float | None = None
    warmup: float = 0.1
    seed: int = 42
    dropout: float | None = None
    bf16: bool | None = None
    max_length: int | None = None
    checkpoints: int = 4
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
        told = defaults | (read_yaml(config) if config is not None else {})
        where = str(config) if config is not None else "the settings"
        known = {one.name: one for one in fields(cls)}
        unknown = [name for name in told if name not in known]
        if unknown:
            raise InputError(
                f"{where}: unknown settings {', '.join(map(repr, unknown))}; there are {', '.join(known)} "
                "(any other argument of the trainer goes under 'arguments')"
            )
        told |= {name: value for name, value in flags.items() if value is not None and name in known}
        lacking = [one.name for one in known.values() if _is_required(one) and not told.get(one.name)]
        if lacking:
            raise InputError(f"{where}: {' and '.join(lacking)} must be given, in the file or as --{lacking[0]}")
        values = {name: _read_value(name, value, known[name].type, where) for name, value in told.items()}
        return cls(**values)._checked(where)

    def _checked(self, where: str) -> Self:
        problems = {
            "batch_size must be at least 1": self.batch_size is not None and self.batch_size < 1,
            "epochs must be above 0": not self.epochs > 0,
            "checkpoints must be at least 1": self.checkpoints < 1,
            "warmup must be from 0 to below 1": not 0 <= self.warmup < 1,
            "lr must be above 0": self.lr is not None and not self.lr > 0,
            "max_steps must be at least 1, or -1 for all epochs": self.max_steps < 1 and self.max_steps != -1,
        }
        violated = [problem for problem, is_violated in problems.items() if is_violated]
        if violated:
            raise InputError(f"{where}: {'; '.join(violated)}")
        return self


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of names and values.

    Raises
    ------
    InputError
        When it is not there, or is no YAML, naming the line; or holds no names.
    """
    import yaml

    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"{file} is not there: give a YAML file of settings, as in 'model: my-encoder'")
    try:
        told = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{file}: no YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8: {error.reason}") from error
    if not isinstance(told, dict):
        raise InputError(f"{file}: it must hold lines of 'name: value'")
    return {str(name).replace("-", "_"): value for name, value in told.items() if value is not None}


_MAPPING = str(Mapping[str, Any])


def _is_required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _read_value(name: str, value: Any, type_: Any, where: str) -> Any:
    """Check a value against the type of its setting; numbers may be written as text, as YAML has it with 2e-5."""
    wanted = type_.__name__ if isinstance(type_, type) else str(type_).removesuffix(" | None")
    try:
        match wanted:
            case "int" if not isinstance(value, bool) and int(value) == float(value):
                return int(value)
            case "float" if not isinstance(value, bool):
                return float(value)
            case "bool" if isinstance(value, bool):
                return value
            case "str" if isinstance(value, str):
                return value
            case "tuple[str, ...]" if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
                return tuple(value)
            case "tuple[int, ...]" if isinstance(value, list | tuple):
                return tuple(int(one) for one in value)
            case _ if wanted == _MAPPING and isinstance(value, Mapping):
                return dict(value)
    except (TypeError, ValueError):
        pass
    kinds = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "text",
        "tuple[str, ...]": "a list of names",
        "tuple[int, ...]": "a list of whole numbers",
        _MAPPING: "names with values",
    }
    raise InputError(f"{where}: {name} must be {kinds[wanted]}, not {value!r}")
