"""What a training run is told, from a file and from flags."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from indexing.errors import InputError

Kind: TypeAlias = Literal["dense", "sparse", "reranker"]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings of one run; what is None is chosen by kind, data and machine.

    Parameters
    ----------
    model
        What is trained: a folder or a Hub name.
    output
        A folder: checkpoints, the log, and ``final``, the model.
    data
        Rows to train on: a folder that ``retrieve mine`` wrote, JSONL, CSV, TSV, Parquet, or a `datasets` name.
    split, columns
        Of a `datasets` name; and which columns are read, in their order (all, but for ids).
    eval_data
        Held-out rows of the same columns, or a BEIR folder, whose queries are searched.
    loss, loss_options
        By the name of its class; see `losses.make_loss` for what is chosen by the columns.
    matryoshka
        Train the first dimensions of dense vectors too: the widths.
    document_weight, query_weight
        Of SPLADE's regularisers.
    inference_free
        Give queries a learned weight a term, and no transformer.
    epochs, max_steps, batch_size, lr, warmup, seed, dropout, bf16, max_length
        Rows a step: 32; 8 for a reranker's rows of several documents; 128 for a dense encoder's (query, positive [,
        negative …]) rows, when there are 2,560 or more and no loss is named. max_steps counts before epochs; warmup is
        a share of the steps; bf16 is by default what the machine computes in hardware; dropout 0 on a processor, else
        the model's; lr 2e-5, but 2e-4 for a cross-encoder made of an encoder.
    checkpoints
        How often the model is saved (and evaluated) on the way.
    resume
        Go on with the newest checkpoint in `output`.
    arguments
        Any other argument of `transformers.TrainingArguments` or ours.
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
        """Take settings from a YAML file, and over them what flags say.

        Parameters
        ----------
        config
            A file of ``name: value`` lines; None for none.
        flags
            By name; None where a flag was not given.
        defaults
            Where neither says anything.

        Raises
        ------
        InputError
            For a key that is no setting (all of them are listed), a value of another type, a missing one.
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
        found = [problem for problem, is_there in problems.items() if is_there]
        if found:
            raise InputError(f"{where}: {'; '.join(found)}")
        return self

    def at(self, **changes: Any) -> Self:
        """Give the same settings, but for these."""
        return replace(self, **changes)


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
