"""Relevant documents of queries: from judgements, or from texts that are searched for among the documents."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from indexing.documents import Document


class Documents(Protocol):
    """Source of texts by id, such as a `DocumentStore`."""

    def contents(self, ids: Sequence[str]) -> list[str]:
        """Return the texts of these documents."""


@dataclass(frozen=True, slots=True)
class Positive:
    """A relevant text, with the id of its document when it is in the collection.

    Parameters
    ----------
    text
        The text, with the title if it is a document.
    doc_id
        The document, if known.
    copies
        Other documents with the same text, perhaps under another title; they are no negatives either.
    """

    text: str
    doc_id: str | None = None
    copies: tuple[str, ...] = ()


def positives_of(
    qrels: Mapping[str, Mapping[str, int]], documents: Documents, *, least_grade: int = 1
) -> dict[str, list[Positive]]:
    """Return the positives of qrels: the documents of at least this grade."""
    ids = sorted({doc_id for judged in qrels.values() for doc_id, grade in judged.items() if grade >= least_grade})
    texts = dict(zip(ids, documents.contents(ids), strict=True))
    return {
        query_id: [Positive(texts[doc_id], doc_id) for doc_id, grade in judged.items() if grade >= least_grade]
        for query_id, judged in qrels.items()
    }


def positives_of_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], dict[str, list[Positive]]]:
    """Return the queries and positives of (query, relevant text) pairs; equal queries are one query."""
    ids: dict[str, str] = {}
    positives: dict[str, list[Positive]] = {}
    for query, text in pairs:
        query_id = ids.setdefault(query, f"q{len(ids)}")
        positives.setdefault(query_id, []).append(Positive(text))
    return {query_id: query for query, query_id in ids.items()}, positives


def find_documents(
    positives: Mapping[str, Sequence[Positive]], documents: "Documents | Iterable[Document]"
) -> dict[str, Sequence[Positive]]:
    """Find positives without an id among the documents of a collection, by text with or without title.

    A positive that is found gets the document's id and its text with title, as indexed, so that mining does not take
    the document for a negative.

    Parameters
    ----------
    documents
        A `DocumentStore`, which is read once if a positive has no id; a source that cannot be read through is not
        searched.
    """
    wanted = {_key(positive.text) for texts in positives.values() for positive in texts if positive.doc_id is None}
    if not wanted or not isinstance(documents, Iterable):
        return dict(positives)
    matches: dict[bytes, Positive] = {}
    for document in documents:
        for key in {_key(document.contents), _key(document.text)} & wanted:
            first = matches.get(key)
            matches[key] = (
                Positive(document.contents, document.doc_id)
                if first is None
                else Positive(first.text, first.doc_id, (*first.copies, document.doc_id))
            )
    return {
        query_id: [
            matches.get(_key(positive.text), positive) if positive.doc_id is None else positive for positive in texts
        ]
        for query_id, texts in positives.items()
    }


def normalized(text: str) -> str:
    """Return the text in Unicode's composed form, with one blank between words: texts equal in this form are one."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _key(text: str) -> bytes:
    return blake2b(normalized(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
