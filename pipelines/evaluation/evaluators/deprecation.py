"""Deprecated names of sentence-transformers 6.2: they still work and warn with the new name."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def warn_of_old_argument(old: str, new: str) -> None:
    """Warn the caller of an evaluator's constructor of a deprecated argument."""
    warnings.warn(f"the argument {old} is an old name: write {new} instead", DeprecationWarning, stacklevel=3)


def old_name_of(new: type) -> Callable[[Kind], Kind]:
    """Return a class decorator that warns, on construction, that the class is now called `new`."""

    def decorated(old: Kind) -> Kind:
        kind: Any = old
        made = kind.__init__

        @wraps(made)
        def warned(self: Any, *arguments: Any, **options: Any) -> None:
            message = f"{old.__name__} is an old name: write {new.__name__} instead"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            made(self, *arguments, **options)

        kind.__init__ = warned
        return old

    return decorated
