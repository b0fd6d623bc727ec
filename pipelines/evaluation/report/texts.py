"""Texts and judgements of a dataset that a report shows in addition to its results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from indexing.errors import InputError


@dataclass(frozen=True, slots=True)
class GivenTexts:
    """Texts and judgements of one dataset.

    Parameters
    ----------
    queries
        ``{query_id: text}``.
    qrels
        ``{query_id: {doc_id: grade}}``.
    contents
        Function that returns the texts of documents in order, such as a document store's ``contents``. It may raise
        InputError for an unknown id.
    """

    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    contents: Callable[[Sequence[str]], list[str]]

    def query(self, query_id: str) -> str:
        """Return a query's text."""
        return self.queries[query_id]

    def documents(self, doc_ids: Sequence[str]) -> list[str]:
        """Return the documents' texts in this order, empty for documents that the corpus lacks."""
        try:
            return self.contents(doc_ids)
        except InputError:
            return [self._document(doc_id) for doc_id in doc_ids]

    def _document(self, doc_id: str) -> str:
        try:
            return self.contents([doc_id])[0]
        except InputError:
            return ""
