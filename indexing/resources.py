"""Base class of context managers that release files, threads or an engine on exit."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import NoReturn, ParamSpec, Self, TypeVar

from indexing.errors import InputError, SetupError, StorageError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Closing(ABC):
    """Base class of objects that a ``with`` block closes on exit, also after an error."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources; closing twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise InputError(
            f"a {name} holds open files, threads or processes and can be neither pickled nor copied: "
            f"make another {name} where it is needed"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def twin(original: T) -> T:
    """Return an object of the same class with the same attributes; both share what these refer to.

    It stands in for `copy.copy`, which a `Closing` refuses.
    """
    other = object.__new__(type(original))
    other.__dict__.update(original.__dict__)
    return other


class Lifetime:
    """The time in which an object may be used: while it is open, in the process that made it.

    Parameters
    ----------
    name
        What error messages call the object.
    """

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, False
        self._process = os.getpid()

    @property
    def forked(self) -> bool:
        """True in a process that was forked after the object was made."""
        return self._process != os.getpid()

    def check(self) -> None:
        """Raise for an object that cannot be used.

        Raises
        ------
        StorageError
            When it is closed.
        SetupError
            In a process that was forked after it was made: threads, Java and SQLite do not survive a fork.
        """
        if self.closed:
            raise StorageError(f"this {self.name} is closed: open it again")
        if self.forked:
            raise SetupError(
                f"this {self.name} was opened before the process was forked, and its threads and Java do not survive a "
                "fork: start processes with the 'spawn' method (gunicorn without --preload), and open it in each"
            )

    def submit(self, pool: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run a function in the object's pool; errors as `check`, also when the object is closed meanwhile."""
        self.check()
        try:
            return pool.submit(function, *args, **kwargs)
        except RuntimeError:
            self.check()
            raise
