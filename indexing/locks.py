"""A lock that an object may hold although it is copied and pickled."""

from threading import Lock
from types import TracebackType


class CopiedLock:
    """A lock for a ``with`` block; a copy of it, also one in another process, is a lock of its own."""

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["CopiedLock"], tuple[()]]:
        return CopiedLock, ()
