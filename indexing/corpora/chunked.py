"""Documents in pieces: each chunk a document of its own that knows its parent, and parents put together again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import Corpus
from indexing.documents import Document
from indexing.errors import InputError

PARENT_ID = "parent_id"
"""The metadata field of a chunk that has its parent's id: what results are grouped by."""

CHUNK = "chunk"
"""The metadata field that has a chunk's ``number`` (from 0) among its parent's (``of``), where it stands in the
parent's text (characters ``start`` to ``end``), the ``headings`` above it and the parent's ``title``."""


def chunk_document(document: Document, chunking: Chunking) -> list[Document]:
    """Cut a document into chunks ``<doc_id>#<number>``.

    A chunk has its parent's metadata, and for a title the parent's and the headings above it: ``Guide > Setup``.

    Raises
    ------
    InputError
        When the metadata already have a field ``parent_id`` or ``chunk``.
    """
    taken = next((name for name in (PARENT_ID, CHUNK) if name in document.metadata), None)
    if taken is not None:
        raise InputError(
            f"document {document.doc_id!r} has a field {taken!r}, where its chunks keep their own: rename the field"
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


def chunk_documents(documents: Iterable[Document], chunking: Chunking) -> Iterator[Document]:
    """Cut documents into chunks, one document after another."""
    for document in documents:
        yield from chunk_document(document, chunking)


class ChunkedCorpus(Corpus):
    """A corpus read as chunks of its documents: what a collection of passages is built of.

    Parameters
    ----------
    corpus
        As `read_corpus` gives it.
    chunking
        How its documents are cut. A collection built with another one is another collection.

    Raises
    ------
    InputError
        For a corpus where the last document of an id counts: chunks of those before it would stay.
    """

    def __init__(self, corpus: Corpus, chunking: Chunking) -> None:
        if corpus.on_duplicate == "last":
            raise InputError(
                "a corpus in chunks takes on_duplicate='error' or 'first': chunks of earlier ones would stay"
            )
        # All that the corpus was opened with, whatever that is.
        vars(self).update(vars(corpus))
        self.chunking = chunking

    def count(self) -> int | None:
        """How many chunks there will be is not known before they are cut."""
        return None

    def reading(self) -> dict[str, Any]:
        """Say how records become chunks."""
        return {**super().reading(), "chunking": self.chunking.as_dict()}

    def __iter__(self) -> Iterator[Document]:
        """Read the chunks, in the order of the documents; errors as the corpus's, and as `chunk_document`."""
        return chunk_documents(super().__iter__(), self.chunking)


def is_chunk(metadata: Mapping[str, Any]) -> bool:
    """Say whether these are the metadata of a chunk."""
    return PARENT_ID in metadata and isinstance(metadata.get(CHUNK), Mapping)


def siblings(metadata: Mapping[str, Any]) -> list[str]:
    """Give the ids of all chunks of this chunk's parent, in order."""
    return [f"{metadata[PARENT_ID]}#{number}" for number in range(metadata[CHUNK]["of"])]


def assemble(chunks: Sequence[Document]) -> Document:
    """Put a document together again from all its chunks, in order: its id, text, title and metadata as they were.

    Raises
    ------
    InputError
        When the chunks are not those of one document, whole.
    """
    text, metadata = [], chunks[0].metadata
    reached = 0
    for number, chunk in enumerate(chunks):
        place = chunk.metadata[CHUNK]
        whole = place["number"] == number and place["of"] == len(chunks) and place["start"] <= reached
        if not whole or chunk.metadata[PARENT_ID] != metadata[PARENT_ID]:
            raise InputError(
                f"the document {metadata[PARENT_ID]!r} cannot be put together: {chunk.doc_id!r} is not the chunk "
                f"number {number} of {len(chunks)}; index the document again"
            )
        text.append(chunk.text[reached - place["start"] :])
        reached = place["end"]
    own = {name: value for name, value in metadata.items() if name not in (PARENT_ID, CHUNK)}
    return Document(metadata[PARENT_ID], "".join(text), metadata[CHUNK]["title"], own)


def _title(title: str, headings: Sequence[str]) -> str:
    names = [name for name in headings if name]
    if names and names[0] == title:
        names = names[1:]
    return " > ".join([title, *names] if title else names)
