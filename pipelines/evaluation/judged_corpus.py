"""The corpus of an evaluation set, read as benchmarks need it."""

from collections import Counter
from collections.abc import Iterator

from indexing.corpora.corpus import Corpus
from indexing.corpora.sources import Record, Source
from indexing.corpora.sources.records import error_at
from indexing.documents import Document
from indexing.errors import InputError
from indexing.seen_ids import SeenIds


class JudgedCorpus(Corpus):
    """A corpus without what no search could find or tell apart: documents without a word, and repeats of an id.

    Public benchmarks have both. Anything else that is wrong with a record stops the reading.

    Attributes
    ----------
    left_out : Counter
        How many documents of the last pass were ``empty`` or ``repeated``.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source, on_error="skip")
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Document]:
        """Read the documents in the source's order.

        Raises
        ------
        InputError
            For the first record that cannot be used, and for a source that holds no document.
        """
        self.skipped, self.left_out = 0, Counter()
        seen, read = SeenIds(), 0
        for record in self.source.records():
            if self._is_empty(record):
                self._leave_out("empty")
                continue
            try:
                document = self.fields.document(record)
            except InputError as problem:
                raise error_at(self.source, record, problem) from None
            if not seen.add(document.doc_id):
                self._leave_out("repeated")
                continue
            read += 1
            yield document
        if not read:
            raise InputError(f"{self.description} holds no document with a word ({self.skipped} left out)")

    def _leave_out(self, kind: str) -> None:
        self.skipped += 1
        self.left_out[kind] += 1

    def _is_empty(self, record: Record) -> bool:
        """Say whether neither text nor title has a word; a record that is malformed, a null text say, is not empty."""
        text = next((record.values[field] for field in self.fields.texts if field in record.values), None)
        title = record.values.get(self.fields.title)
        return isinstance(text, str) and not text.strip() and (title is None or not str(title).strip())
