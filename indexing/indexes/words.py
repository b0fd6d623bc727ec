"""Statistics of the words of an index of texts: the part of the contract that text indexes have beside `Index`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class TermCounts(NamedTuple):
    """In how many documents a word occurs, and how often in all."""

    documents: int
    occurrences: int


class Words(ABC):
    """Statistics of the words of an index, as of one state of it.

    Attributes
    ----------
    documents
        Number of documents.
    """

    documents: int

    @abstractmethod
    def analyzed(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text as the index stores them, in their order."""

    @abstractmethod
    def counts(self, words: Iterable[str]) -> dict[str, TermCounts]:
        """Return the counts of words in the form that the index stores."""

    @property
    @abstractmethod
    def totals(self) -> Mapping[str, float]:
        """Number of ``documents``, ``words`` and ``distinct_words``, and the ``average_length``."""

    @abstractmethod
    def most_frequent(self, number: int) -> list[tuple[str, TermCounts]]:
        """Return the words that most documents contain, ties by word."""
