"""Processes of distributed training, as started by ``torchrun``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def is_main() -> bool:
    """Return whether this is the only or first process, which writes files and reports."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the first process before the others, so that they find the files that it writes.

    As a side effect, "cuda" becomes this process's own GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
