"""Base class of context managers that release files, threads or an engine on exit."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Base class of objects that a ``with`` block closes on exit, also after an error."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources; closing twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
