"""Loading and saving of the tokenizer in a checkpoint."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexing.errors import ModelError
from retrieve.encoders.modules.module import LoadOptions
from retrieve.encoders.modules.weights import first_line

_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "tekken.json")


def load_tokenizer(folder: Path, options: LoadOptions, stored: Mapping[str, Any] | None = None) -> Any:
    """Load a transformers tokenizer from its files, with the arguments `stored` in the checkpoint.

    Raises
    ------
    ModelError
        If the files are missing or damaged.
    """
    from transformers import AutoTokenizer

    # Without any of these files transformers creates an empty vocabulary, to which every word is unknown.
    if not any(path for pattern in _FILES for path in folder.glob(pattern)):
        raise ModelError(f"{folder}: there is no tokenizer ({', '.join(_FILES)})")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options.transformers_options, **(stored or {}))
    except Exception as error:  # the tokenizers library raises bare Exception for a file it cannot read
        raise ModelError(f"{folder}: the tokenizer cannot be loaded ({first_line(error)})") from error
    limit = tokenizer.model_max_length
    if not isinstance(limit, int | float) or isinstance(limit, bool) or not 1 <= limit < math.inf:
        raise ModelError(f"{folder / 'tokenizer_config.json'}: model_max_length must be at least 1, not {limit!r}")
    return tokenizer


def lowercase(tokenizer: Any) -> None:
    """Make a tokenizer lowercase its texts first."""
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Steps

    backend = tokenizer.backend_tokenizer
    backend.normalizer = Steps([Lowercase()] + ([backend.normalizer] if backend.normalizer is not None else []))


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and warnings; errors are still raised."""
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def save_tokenizer(tokenizer: Any, folder: Path, max_length: int | None) -> None:
    """Save a transformers tokenizer, with the length that it truncates to."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Reset the settings of the last call, which other readers of tokenizer.json would apply.
        backend.no_truncation()
        backend.no_padding()
    original = tokenizer.model_max_length
    tokenizer.model_max_length = max_length or original
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.model_max_length = original
