"""Loading and saving of a module's weights: safetensors, or pickles of older checkpoints if allowed."""

import warnings
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_model
from torch import Tensor

from indexing.errors import ModelError

_FILE = "model.safetensors"
_PICKLE = "pytorch_model.bin"


def weight_files(folder: Path) -> list[Path]:
    """Return the files with a folder's weights: its safetensors, or its pickles if it has none."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


@lru_cache(maxsize=8)
def _extent(path: Path, modified: int) -> tuple[int, int]:
    with safe_open(path, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return len(shapes), max((size for shape in shapes for size in shape), default=0)


def weight_extent(folder: Path) -> tuple[int, int]:
    """Return the number of tensors and the largest dimension in the headers of a folder's safetensors.

    (0, 0) without any, as for pickles, which have no headers.
    """
    files = [path for path in weight_files(folder) if path.suffix == ".safetensors"]
    try:
        extents = [_extent(path, path.stat().st_mtime_ns) for path in files]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder}: the weights cannot be loaded ({first_line(error)})") from error
    return sum(count for count, _ in extents), max((largest for _, largest in extents), default=0)


def require_weights(folder: Path, *, allow_bin: bool) -> bool:
    """Check that a folder has weights; return whether they are pickled.

    Raises
    ------
    ModelError
        If there are none, or only a pickle without `allow_bin`.
    """
    if any((folder / name).is_file() for name in (_FILE, f"{_FILE}.index.json")):
        return False
    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds a PEFT adapter, not a whole model: merge it into its base model "
            "(peft's merge_and_unload) and save that"
        )
    if not pickled:
        raise ModelError(f"{folder}: there are no weights ({_FILE})")
    if not allow_bin:
        raise ModelError(
            f"{folder}: the weights exist only as {pickled[0]}, a pickle; {_FILE} is needed. To read the tensors of "
            "the pickle, without running its code, pass allow_bin=True"
        )
    return True


def read_weights(folder: Path, *, allow_bin: bool) -> dict[str, Tensor]:
    """Read the weights of a folder into memory.

    Raises
    ------
    ModelError
        As `require_weights`, or if they are damaged.
    """
    pickled = require_weights(folder, allow_bin=allow_bin)
    path = folder / (_PICKLE if pickled else _FILE)
    try:
        weights: dict[str, Tensor] = torch.load(path, "cpu", weights_only=True) if pickled else load_file(path)
    except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: the weights cannot be loaded ({first_line(error)})") from error
    return weights


def load_weights(module: torch.nn.Module, folder: Path, *, allow_bin: bool) -> None:
    """Load exactly a module's parameters and buffers from its folder.

    Raises
    ------
    ModelError
        As `read_weights` and `set_weights`.
    """
    weights = read_weights(folder, allow_bin=allow_bin)
    set_weights(module, weights, f"{folder}: the weights do not fit {type(module).__name__}")


def set_weights(module: torch.nn.Module, weights: dict[str, Tensor], error_prefix: str) -> None:
    """Set exactly a module's parameters and buffers; a module on the meta device moves to the CPU.

    Raises
    ------
    ModelError
        If a weight is missing, unexpected or of the wrong shape; the message starts with `error_prefix`.
    """
    # safetensors stores weights that are shared under two names once, under either name.
    for names in _shared_weights(module):
        stored = next((weights[name] for name in names if name in weights), None)
        weights |= {name: stored for name in names if stored is not None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the meta device this only checks names and shapes, and warns of it
            module.load_state_dict(weights)
        if any(weight.is_meta for weight in module.state_dict().values()):
            module.to_empty(device="cpu").load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(line.strip() for line in str(error).splitlines()[1:])
        raise ModelError(f"{error_prefix} ({detail})") from error


def read_named_weights(folder: Path, prefix: str, *, allow_bin: bool) -> dict[str, Tensor]:
    """Read the weights whose names start with `prefix` from all files of a folder; return them without the prefix.

    Raises
    ------
    ModelError
        As `read_weights`.
    """
    weights: dict[str, Tensor] = {}
    pickled = require_weights(folder, allow_bin=allow_bin)
    for path in weight_files(folder):
        try:
            if pickled:
                stored = torch.load(path, "cpu", weights_only=True, mmap=True)
                weights |= {name: stored[name] for name in stored if name.startswith(prefix)}
                continue
            with safe_open(path, "pt") as file:
                weights |= {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, EOFError) as error:
            raise ModelError(f"{path}: the weights cannot be loaded ({first_line(error)})") from error
    return {name.removeprefix(prefix): weight for name, weight in weights.items()}


def write_weights(module: torch.nn.Module, folder: Path) -> None:
    """Save a module's parameters and buffers as safetensors."""
    save_model(module, str(folder / _FILE))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shared_weights(module: torch.nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    return [group for group in names.values() if len(group) > 1]
