"""The weights of a module: safetensors, or the pickles of older checkpoints where these are allowed."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from indexing.errors import ModelError

_FILE = "model.safetensors"
_PICKLE = "pytorch_model.bin"


def weight_files(folder: Path) -> list[Path]:
    """Give the files that hold a folder's weights: its safetensors, without any its pickles."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def require_weights(folder: Path, *, allow_bin: bool) -> bool:
    """Check that a folder has weights; gives whether they are pickled.

    Raises
    ------
    ModelError
        When there are none, or only a pickle and that is not allowed.
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
            f"{folder}: the weights are there only as {pickled[0]}, a pickle; {_FILE} is needed. To read the pickle "
            "all the same, tensors only and no code, give allow_bin=True"
        )
    return True


def read_weights(folder: Path, *, allow_bin: bool) -> dict[str, Tensor]:
    """Read the weights of a folder into memory.

    Raises
    ------
    ModelError
        As `require_weights`, and when they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    pickled = require_weights(folder, allow_bin=allow_bin)
    path = folder / (_PICKLE if pickled else _FILE)
    try:
        found: dict[str, Tensor] = torch.load(path, "cpu", weights_only=True) if pickled else load_file(path)
    except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: the weights cannot be loaded ({first_line(error)})") from error
    return found


def load_weights(module: torch.nn.Module, folder: Path, *, allow_bin: bool) -> None:
    """Fill a module's parameters and buffers from its folder, each of them and nothing else.

    Raises
    ------
    ModelError
        As `read_weights`, and naming a weight that is missing, of another shape or not expected.
    """
    fill(module, read_weights(folder, allow_bin=allow_bin), f"{folder}: the weights do not fit {type(module).__name__}")


def fill(module: torch.nn.Module, weights: dict[str, Tensor], otherwise: str) -> None:
    """Fill a module's parameters and buffers, each of them and nothing else; `otherwise` begins the error.

    Raises
    ------
    ModelError
        Naming a weight that is missing, of another shape or not expected.
    """
    # safetensors holds one copy of weights that stand in two places, under either name.
    for names in _shared(module):
        stored = next((weights[name] for name in names if name in weights), None)
        weights |= {name: stored for name in names if stored is not None}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(line.strip() for line in str(error).splitlines()[1:])
        raise ModelError(f"{otherwise} ({detail})") from error


def read_named_weights(folder: Path, prefix: str, *, allow_bin: bool) -> dict[str, Tensor]:
    """Read the weights of a folder, in however many files, whose names begin with a prefix; gives them without it.

    Raises
    ------
    ModelError
        As `read_weights`.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    pickled = require_weights(folder, allow_bin=allow_bin)
    for path in weight_files(folder):
        try:
            if pickled:
                held = torch.load(path, "cpu", weights_only=True, mmap=True)
                found |= {name: held[name] for name in held if name.startswith(prefix)}
                continue
            with safe_open(path, "pt") as file:
                found |= {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, EOFError) as error:
            raise ModelError(f"{path}: the weights cannot be loaded ({first_line(error)})") from error
    return {name.removeprefix(prefix): weight for name, weight in found.items()}


def write_weights(module: torch.nn.Module, folder: Path) -> None:
    """Write a module's parameters and buffers as safetensors."""
    from safetensors.torch import save_model

    save_model(module, str(folder / _FILE))


def first_line(error: BaseException) -> str:
    """Give what an error says first."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shared(module: torch.nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    return [several for several in names.values() if len(several) > 1]
