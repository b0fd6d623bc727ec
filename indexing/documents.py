"""Document: the unit that is stored, encoded, searched and shown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from indexing.errors import InputError
from indexing.inputs import listed, shown


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    Parameters
    ----------
    doc_id
        The id: any non-empty string, unique in a corpus.
    text
        The body.
    title
        The title; empty by default.
    metadata
        Further fields as JSON values; returned with hits.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.doc_id, str) or not self.doc_id:
            raise InputError(f"doc_id must be a non-empty string, not {self.doc_id!r}")
        for name in ("doc_id", "text", "title"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputError(f"document {self.doc_id!r}: {name} must be a string, not {value!r}")
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"document {self.doc_id!r}: {name} holds {value[error.start]!a} at character {error.start}, "
                    "half of a surrogate pair, which no index can store: fix or remove it"
                ) from None

    @property
    def contents(self) -> str:
        """Text to index and to rerank by: title, a space, text (the flat layout of BEIR and Anserini)."""
        return f"{self.title} {self.text}".strip()


def documents_of(values: Any) -> list[Document]:
    """Return any number of documents as a list.

    Raises
    ------
    InputError
        For what is no list, as `indexing.inputs.listed`, and for an item of another type, with its position.
    """
    documents = list(listed(values, "documents", "documents"))
    for place, value in enumerate(documents):
        if not isinstance(value, Document):
            raise InputError(f"documents: number {place} (from 0) must be a Document, not {shown(value)}")
    return documents


def check_ids(ids: Sequence[str]) -> None:
    """Check that no id is empty or occurs twice in a call.

    Raises
    ------
    InputError
        Naming the first such id.
    """
    if "" in ids:
        raise InputError(f"the id at position {list(ids).index('')} is empty")
    if len(set(ids)) < len(ids):
        doc_id, times = Counter(ids).most_common(1)[0]
        raise InputError(f"the id {doc_id!r} occurs {times} times in one call: keep one of them")
