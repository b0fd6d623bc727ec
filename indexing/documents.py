"""Document: the unit that is stored, encoded, found and shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indexing.errors import InputError


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    Parameters
    ----------
    doc_id
        Its id, unique in a corpus. Any non-empty string.
    text
        The body.
    title
        The title; empty when it has none.
    metadata
        Further fields, JSON values; returned with hits.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.doc_id, str) or not self.doc_id:
            raise InputError(f"doc_id must be a non-empty string, not {self.doc_id!r}")
        for name in ("text", "title"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"document {self.doc_id!r}: {name} must be a string, not {getattr(self, name)!r}")

    @property
    def contents(self) -> str:
        """What every leg indexes and every reranker reads: title, a space, text (BEIR's and Anserini's flat layout)."""
        return f"{self.title} {self.text}".strip()
