"""What a report reads of a dataset beside its results: texts to show, and judgements to count by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from indexing.errors import InputError


class Texts(Protocol):
    """Texts and judgements of one dataset."""

    @property
    def qrels(self) -> Mapping[str, Mapping[str, int]]:
        """The judgements, ``{query_id: {doc_id: grade}}``."""
        ...

    def query(self, query_id: str) -> str:
        """Give a query's text."""
        ...

    def documents(self, doc_ids: Sequence[str]) -> list[str]:
        """Give the documents' texts, in this order; empty for one that the corpus lacks."""
        ...


@dataclass(frozen=True, slots=True)
class GivenTexts:
    """`Texts` of what an evaluation holds anyway.

    Parameters
    ----------
    queries
        ``{query_id: text}``.
    qrels
        ``{query_id: {doc_id: grade}}``.
    contents
        Gives the texts of documents, in order: a document store's ``contents``, or a function over a corpus. It may
        raise InputError for an id that is not there.
    """

    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    contents: Callable[[Sequence[str]], list[str]]

    def query(self, query_id: str) -> str:
        """Give a query's text."""
        return self.queries[query_id]

    def documents(self, doc_ids: Sequence[str]) -> list[str]:
        """Give the documents' texts, empty where the corpus lacks one."""
        try:
            return self.contents(doc_ids)
        except InputError:
            return [self._one(doc_id) for doc_id in doc_ids]

    def _one(self, doc_id: str) -> str:
        try:
            return self.contents([doc_id])[0]
        except InputError:
            return ""
