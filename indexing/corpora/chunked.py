"""Chunks as documents of their own that reference their parent, and parents reassembled from their chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import Corpus
from indexing.documents import Document
from indexing.errors import InputError
from indexing.inputs import shown

PARENT_ID = "parent_id"
"""Metadata field of a chunk that holds its parent's id; results are grouped by it."""

CHUNK = "chunk"
"""Metadata field of a chunk that holds its ``number``, from 0, among the ``of`` chunks of its parent, its span in the
parent's text (characters ``start`` to ``end``), the ``headings`` above it and the parent's ``title``."""

OWN_FIELDS = "own_fields"
"""Key in `CHUNK` for the names of the metadata that a chunk has and its parent has not, as its page."""


def chunk_document(document: Document, chunking: Chunking) -> list[Document]:
    """Split a document into chunks ``<doc_id>#<number>``.

    A chunk has its parent's metadata. Its title joins the parent's and the headings above it: ``Guide > Setup``.

    Raises
    ------
    InputError
        When the metadata already contain a field ``parent_id`` or ``chunk``.
    """
    if (reserved := next((name for name in (PARENT_ID, CHUNK) if name in document.metadata), None)) is not None:
        raise InputError(
            f"document {document.doc_id!r} has a field {reserved!r}, which is reserved for chunks: rename the field"
        )
    chunks = chunking(document.text)
    return [
        Document(
            f"{document.doc_id}#{number}",
            document.text[chunk.start : chunk.end],
            _title(document.title, chunk.headings),
            {
                **document.metadata,
                PARENT_ID: document.doc_id,
                CHUNK: {
                    "number": number,
                    "of": len(chunks),
                    "start": chunk.start,
                    "end": chunk.end,
                    "headings": list(chunk.headings),
                    "title": document.title,
                },
            },
        )
        for number, chunk in enumerate(chunks)
    ]


class ChunkedCorpus(Corpus):
    """A corpus read as chunks of its documents, to build a collection of passages from.

    Parameters
    ----------
    corpus
        As `read_corpus` returns it.
    chunking
        How its documents are split. A collection built with another chunking does not count as built.

    Raises
    ------
    InputError
        For anything but a `Corpus`, and for one with ``on_duplicate="last"``: chunks of the earlier documents of an id
        would remain.
    """

    def __init__(self, corpus: Corpus, chunking: Chunking) -> None:
        if not isinstance(corpus, Corpus):
            raise InputError(
                f"corpus must be a Corpus, as read_corpus returns it, not {shown(corpus)}: for other documents, build "
                "from (chunk for document in documents for chunk in chunk_document(document, chunking))"
            )
        if corpus.on_duplicate == "last":
            raise InputError(
                "a chunked corpus takes on_duplicate='error' or 'first': with 'last', chunks of earlier documents "
                "would remain"
            )
        # Copy every setting that the corpus was opened with.
        vars(self).update(vars(corpus))
        self.chunking = chunking

    def count(self) -> int | None:
        """Return None: the number of chunks is unknown before splitting."""
        return None

    def reading(self) -> dict[str, Any]:
        """Return how records become chunks."""
        return {**super().reading(), "chunking": self.chunking.as_dict()}

    def _stored(self, document: Document) -> Sequence[Document]:
        return chunk_document(document, self.chunking)


def is_chunk(metadata: Mapping[str, Any]) -> bool:
    """Return whether these are the metadata of a chunk."""
    return PARENT_ID in metadata and isinstance(metadata.get(CHUNK), Mapping)


def siblings(metadata: Mapping[str, Any]) -> list[str]:
    """Return the ids of all chunks of this chunk's parent, in order."""
    return [f"{metadata[PARENT_ID]}#{number}" for number in range(metadata[CHUNK]["of"])]


def assemble(chunks: Sequence[Document]) -> Document:
    """Reassemble a document, with its id, text, title and metadata, from all its chunks in order.

    Raises
    ------
    InputError
        When the chunks are not all chunks of one document.
    """
    text, metadata = [], chunks[0].metadata
    reached = 0
    for number, chunk in enumerate(chunks):
        span = chunk.metadata[CHUNK]
        complete = span["number"] == number and span["of"] == len(chunks) and span["start"] <= reached
        if not complete or chunk.metadata[PARENT_ID] != metadata[PARENT_ID]:
            raise InputError(
                f"the document {metadata[PARENT_ID]!r} cannot be reassembled: {chunk.doc_id!r} is not chunk "
                f"number {number} of {len(chunks)}; index the document again"
            )
        text.append(chunk.text[reached - span["start"] :])
        reached = span["end"]
    left_out = {PARENT_ID, CHUNK, *(metadata[CHUNK].get(OWN_FIELDS) or ())}
    own = {name: value for name, value in metadata.items() if name not in left_out}
    return Document(metadata[PARENT_ID], "".join(text), metadata[CHUNK]["title"], own)


def _title(title: str, headings: Sequence[str]) -> str:
    names = [name for name in headings if name]
    if names and names[0] == title:
        names = names[1:]
    return " > ".join([title, *names] if title else names)
