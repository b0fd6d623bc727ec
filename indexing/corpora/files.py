"""Files as a corpus: each file a document in chunks, with its place, page and heading, and what changed since."""

import importlib.util
import logging
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from indexing.corpora.chunked import CHUNK, OWN_FIELDS, ChunkedCorpus, chunk_document
from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import Corpus
from indexing.corpora.sources.folder import FILES_FIELDS, MOST_FILE_BYTES, Files
from indexing.corpora.sources.formats import PAGE_BREAK, Reader
from indexing.corpora.sources.formats.extracted import WITHOUT_HEADINGS, one_line
from indexing.corpora.sources.records import Record
from indexing.documents import Document
from indexing.errors import InputError

__all__ = ["FILES_FIELDS", "FilesCorpus", "read_files"]

logger = logging.getLogger(__name__)

_NEEDED = ("charset_normalizer", "lxml", "pathspec", "pypdfium2")
MOST_LINES = 50
"""Maximum number of unreadable files that a pass logs, a line each."""


class FilesCorpus(ChunkedCorpus):
    """The documents of files, in chunks; create it with `read_files`.

    A file that cannot be read is logged and counted in `skipped`, and never stops a job. Each chunk has the metadata
    that `FILES_FIELDS` lists: ``path``, ``format``, ``title``, ``modified``, ``size``, ``language`` if the file states
    it, the ``page`` on which it begins if the file has pages, and the ``heading`` above it.

    Attributes
    ----------
    moved
        Former id of each file that was moved, for which the collection has the encoded text.
    """

    source: Files

    def __init__(self, files: Files, chunking: Chunking, *, skipped_to: str | Path | None = None) -> None:
        super().__init__(Corpus(files, on_error="skip", skipped_to=skipped_to), chunking)
        self.moved: Mapping[str, str] = {}

    def reading(self) -> dict[str, Any]:
        """Return how files become chunks."""
        reader = self.source.reader
        return {"files": True, "chunking": self.chunking.as_dict()} | ({} if reader == "own" else {"reader": reader})

    @property
    def reads_nothing(self) -> bool:
        """True if a pass yields no chunk: each file is unchanged, or is still one that cannot be read."""
        return all(name in self.source.unchanged or self.source.is_unread(name) for name in self.source.entries)

    def keeps(self, doc_id: str, *, remove_missing: bool) -> bool:
        """Return whether a stored chunk that the last pass did not yield is still valid.

        Parameters
        ----------
        doc_id
            Id of the chunk.
        remove_missing
            The chunks of files that are gone are not.
        """
        name = doc_id.rpartition("#")[0]
        if name in self.source.read:
            return False
        return name in self.source.entries or not remove_missing

    def _log_skipped(self, record: Record, problem: InputError) -> None:
        if self.skipped <= MOST_LINES:
            logger.warning("%s %s", record.file, problem)

    def _stored(self, document: Document) -> Sequence[Document]:
        chunking = self.chunking
        if chunking.by == "markdown" and document.metadata["format"] in WITHOUT_HEADINGS:
            chunking = Chunking("sentences", chunking.size, chunking.overlap, chunking.tokens)
        breaks = [match.start() for match in re.finditer(PAGE_BREAK, document.text)]
        return [_placed(chunk, breaks) for chunk in chunk_document(document, chunking)]


def read_files(
    *sources: str | Path,
    chunking: Chunking | None = None,
    most_bytes: int = MOST_FILE_BYTES,
    skipped_to: str | Path | None = None,
    reader: Reader = "own",
) -> FilesCorpus:
    """Open folders, files and globs as a corpus of chunks; nothing is read before the first pass.

    Markdown, text, reStructuredText, HTML, PDF, Word, PowerPoint, EPUB, Jupyter notebooks, mails and source code are
    read. Their content decides before their names.

    Parameters
    ----------
    sources
        One folder, whose files have their path in it as id; or several folders, files and globs (``docs/**/*.md``),
        whose ids are relative to the folder that all have in common.
    chunking
        How texts are split: by headings (``"markdown"``, the default), ``"pages"``, ``"sentences"`` or ``"tokens"``.
    most_bytes
        Maximum size of a file; larger ones are reported.
    skipped_to
        File for the files that cannot be read, as for `indexing.corpora.read_corpus`.
    reader
        ``"own"``, or ``"kreuzberg"``: PDFs, office files and e-books are read by that package, which must be installed
        and knows more formats (Excel, OpenDocument, RTF, Office before 2007).

    Raises
    ------
    InputError
        For a source that does not exist, and when the extra ``documents`` is not installed.
    """
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise InputError(f"reading files needs {', '.join(lacking)}: pip install 'retrieve-rerank[documents]'")
    files = Files(sources, most_bytes=most_bytes, reader=reader)
    return FilesCorpus(files, chunking or Chunking("markdown"), skipped_to=skipped_to)


def _placed(chunk: Document, breaks: Sequence[int]) -> Document:
    """Return a chunk with the page on which it begins and the heading above it in its metadata."""
    place = chunk.metadata[CHUNK]
    own: dict[str, Any] = {}
    if breaks:
        begins = place["start"] + len(chunk.text) - len(chunk.text.lstrip())
        ends = place["end"] - (len(chunk.text) - len(chunk.text.rstrip())) - 1
        own["page"] = bisect_right(breaks, begins) + 1
        place = {**place, "last_page": max(bisect_right(breaks, ends) + 1, own["page"])}
    if headings := [name for name in place["headings"] if name]:
        own["heading"] = one_line(headings[-1])
    metadata = {**cast(dict[str, Any], chunk.metadata), **own, CHUNK: {**place, OWN_FIELDS: sorted(own)}}
    return Document(chunk.doc_id, chunk.text, chunk.title, metadata)
