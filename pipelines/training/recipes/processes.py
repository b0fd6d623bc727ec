"""Several processes that train one model together, as ``torchrun`` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def is_main() -> bool:
    """Tell whether this process is the only one, or the first: the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def main_first() -> Iterator[None]:
    """Let the first process go ahead, so that the others find what it made.

    From here on "cuda" is this process's own GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
