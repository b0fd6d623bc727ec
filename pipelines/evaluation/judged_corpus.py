"""Corpus of an evaluation set, without empty and repeated documents."""

from collections import Counter
from collections.abc import Iterator

from indexing.corpora.corpus import Corpus
from indexing.corpora.sources import Record, Source
from indexing.corpora.sources.records import error_at
from indexing.documents import Document
from indexing.errors import InputError
from indexing.seen_ids import SeenIds


class JudgedCorpus(Corpus):
    """Corpus that leaves out documents without text and repeated ids, which no search can find or distinguish.

    Public benchmarks have both. Any other defect of a record raises an error.

    Attributes
    ----------
    left_out : Counter
        Number of ``empty`` and ``repeated`` documents of the last pass.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source, on_error="skip")
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Document]:
        """Read the documents in the source's order.

        Raises
        ------
        InputError
            For the first record that cannot be used, and for a source without a document.
        """
        self.skipped, self.left_out = 0, Counter()
        seen, read = SeenIds(), 0
        for record in self.source.records():
            if self._is_empty(record):
                self._leave_out("empty")
                continue
            try:
                document, stored = self._documents(record)
            except InputError as problem:
                raise error_at(self.source, record, problem) from None
            if not seen.add(document.doc_id):
                self._leave_out("repeated")
                continue
            read += 1
            yield from stored
        if not read:
            raise InputError(f"{self.description} holds no document with a word ({self.skipped} left out)")

    def _leave_out(self, kind: str) -> None:
        self.skipped += 1
        self.left_out[kind] += 1

    def _is_empty(self, record: Record) -> bool:
        """Return whether text and title are both blank; a malformed record (a null text) is not empty."""
        text = next((record.values[field] for field in self.fields.texts if field in record.values), None)
        title = record.values.get(self.fields.title)
        return isinstance(text, str) and not text.strip() and (title is None or not str(title).strip())
