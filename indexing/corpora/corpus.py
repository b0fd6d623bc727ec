"""Corpora: documents read from files and datasets; each malformed record is named, no other is lost."""

import copy
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias

from indexing.corpora.sources import Record, Source, open_source
from indexing.corpora.sources.joined import Joined
from indexing.corpora.sources.records import error_at, take_id, take_text
from indexing.documents import Document
from indexing.errors import InputError
from indexing.filters import Fields as FilterFields
from indexing.filters.fields import typed_values
from indexing.inputs import local_path
from indexing.plurals import counted
from indexing.seen_ids import SeenIds

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]
OnDuplicate = Literal["error", "first", "last"]
Check: TypeAlias = Callable[[Document], None]
"""Raises an `InputError` for a document that a collection refuses."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields that hold a document's id, text and title.

    Parameters
    ----------
    ids, texts
        Names in order of preference: the first that a record has is read.
    title
        May be missing or null in a record, unless `title_required`.
    """

    ids: Sequence[str] = ("_id", "id", "doc_id")
    texts: Sequence[str] = ("text", "contents")
    title: str = "title"
    title_required: bool = False

    def document(self, record: Record) -> Document:
        """Convert a record to a document; fields other than id, text and title become metadata.

        A field ``metadata`` that holds an object is merged into the other metadata.

        Raises
        ------
        InputError
            Naming the field at fault.
        """
        if record.problem:
            raise InputError(record.problem)
        values = dict(record.values)
        doc_id = take_id(values, self.ids, option="id_field")
        text = take_text(values, self.texts, option="text_field")
        title = self._take_title(values)
        if not text.strip() and not title.strip():
            raise InputError(f"the document {doc_id!r} is empty: both text and title are blank")
        if isinstance(values.get("metadata"), dict):
            nested = values.pop("metadata")
            conflict = next((key for key in nested if key in values and nested[key] != values[key]), None)
            if conflict is not None:
                raise InputError(f"the field {conflict!r} has different values in the record and in its metadata")
            values |= nested
        return Document(doc_id, text, title, values)

    def _take_title(self, values: dict[str, Any]) -> str:
        if values.get(self.title, "" if self.title_required else None) is None:
            values.pop(self.title, None)
            return ""
        return take_text(values, (self.title,), option="title_field")


class Corpus:
    """The documents of one source, read again at each pass; create one with `read_corpus`.

    Documents are not kept in memory. A digest of each id is, about 40 bytes, to find duplicates.

    Attributes
    ----------
    skipped : int
        Number of unusable records in the last pass, or so far in the current one; 0 with ``on_error="raise"``.
    duplicates : int
        Number of records in the last pass with the id of an earlier one; 0 with ``on_duplicate="error"``.
    is_partial : bool
        The pass reads only what changed, which may be nothing; otherwise a corpus without documents is an error.
    """

    def __init__(
        self,
        source: Source,
        fields: Fields | None = None,
        *,
        on_error: OnError = "raise",
        on_duplicate: OnDuplicate = "error",
        skipped_to: str | Path | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
        if on_duplicate not in ("error", "first", "last"):
            raise InputError(f"on_duplicate must be 'error', 'first' or 'last', not {on_duplicate!r}")
        self.source = source
        self.fields = fields or Fields()
        self.on_error = on_error
        self.on_duplicate = on_duplicate
        self.skipped_to = None if skipped_to is None or on_error == "raise" else local_path(skipped_to, "skipped_to")
        self.skipped = self.duplicates = 0
        self.is_partial = False
        self._types: FilterFields = {}
        self._check: Check | None = None
        self._refused: list[str] = []
        self._is_reading = False

    @property
    def description(self) -> str:
        """Description of the source, for messages and progress bars."""
        # A file may have a name that is not UTF-8, and the manifest stores this in UTF-8.
        return self.source.description.encode("utf-8", "backslashreplace").decode()

    def count(self) -> int | None:
        """Return a length for a progress bar, blank and skipped lines included; None when counting would be slow."""
        return self.source.count()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the source's bytes; for datasets their own fingerprint."""
        return self.source.fingerprint()

    def reading(self) -> dict[str, Any]:
        """Return how records become documents; together with the fingerprint it determines the documents."""
        fields = {"ids": list(self.fields.ids), "texts": list(self.fields.texts), "title": self.fields.title}
        return fields | ({} if self.on_duplicate == "error" else {"on_duplicate": self.on_duplicate})

    @contextmanager
    def checked(self, fields: FilterFields, check: Check) -> Iterator[None]:
        """Within the block, give each pass the filter fields and the checks of the collection that it is read for.

        What `check` refuses is an unusable record like a malformed one, with its file and line.

        Parameters
        ----------
        fields
            Declared filter fields: a cell of a source without types (CSV, TSV) is read as the field's type, and an
            empty cell as no value. Times are cut to milliseconds.
        check
            Raises an `InputError` for a document that the collection refuses.
        """
        self._types, self._check = fields, check
        try:
            yield
        finally:
            self._types, self._check = {}, None

    def __iter__(self) -> Iterator[Document]:
        """Read the documents in the source's order.

        Raises
        ------
        InputError
            For a source that cannot be read or holds no document; and, unless ``on_error="skip"``, for the first
            record that is malformed, lacks a field, has one of a wrong type, is empty, is refused by the collection
            (`checked`), or repeats an id under ``on_duplicate="error"``. With ``"last"`` both documents of an id are
            yielded.
        """
        self.skipped = self.duplicates = read = 0
        self._refused, self._is_reading = [], True
        seen = SeenIds()
        with _SkippedFile(self.skipped_to) as skipped:
            for record in self.source.records():
                try:
                    document, stored = self._documents(record)
                    if not seen.add(document.doc_id):
                        self._count_duplicate(document)
                        if self.on_duplicate == "first":
                            continue
                except InputError as problem:
                    if self.on_error == "raise":
                        raise error_at(self.source, record, problem) from None
                    self.skipped += 1
                    skipped.write(record, self.source.unit, str(problem))
                    self._log_skipped(record, problem)
                    continue
                read += 1
                yield from stored
        self._is_reading = False
        self._write_refused()
        if self.skipped:
            where = "" if self.skipped_to is None else f"; {self.skipped_to} lists them with the reasons"
            logger.warning("%s: skipped %d of %d records%s", self.description, self.skipped, self.skipped + read, where)
        if not read and not self.is_partial:
            raise InputError(f"{self.description} holds no usable document ({counted(self.skipped, 'record')} skipped)")

    def refuse(self, document: Document, reason: str) -> None:
        """Count a document of this pass as skipped, because it turned out to be unusable after it was read."""
        self.skipped += 1
        if self.skipped_to is not None:
            line = {"file": self.description, "id": document.doc_id, "reason": reason, "raw": document.contents}
            self._refused.append(json.dumps(line) + "\n")
            if not self._is_reading:
                self._write_refused()

    def _write_refused(self) -> None:
        """Append the refused documents to the file of skipped records."""
        if self._refused and self.skipped_to is not None:
            with self.skipped_to.open("a", encoding="utf-8") as file:
                file.writelines(self._refused)
        self._refused = []

    def without_source(self) -> Self:
        """Return a copy that makes documents of records which are read elsewhere (`stored_documents`)."""
        bare = copy.copy(self)
        bare.source, bare._check, bare._refused = Joined((), self.description), None, []
        return bare

    def stored_documents(self, record: Record) -> Sequence[Document]:
        """Return the documents that a pass stores for a record; raise an `InputError` for a malformed one."""
        return self._documents(record)[1]

    def _documents(self, record: Record) -> tuple[Document, Sequence[Document]]:
        """Return the document of a record, and the documents to store for it.

        Raises
        ------
        InputError
            For a record that is malformed, or whose documents the collection refuses.
        """
        document = self.fields.document(record)
        if self._types:
            cells = not getattr(self.source, "typed", True)
            values = typed_values(self._types, document.metadata, document.doc_id, cells=cells)
            if values != document.metadata:
                document = replace(document, metadata=values)
        stored = self._stored(document)
        if self._check is not None:
            for one in stored:
                self._check(one)
        return document, stored

    def _stored(self, document: Document) -> Sequence[Document]:
        """Return the documents to store for one that was read."""
        return [document]

    def _log_skipped(self, record: Record, problem: InputError) -> None:
        """Log one skipped record; the number of all is logged at the end of a pass."""

    def _count_duplicate(self, document: Document) -> None:
        if self.on_duplicate == "error":
            raise InputError(
                f"the id {document.doc_id!r} already occurs above: make the ids unique, "
                "or choose which document to keep with on_duplicate, first or last (--on-duplicate)"
            )
        self.duplicates += 1

    def __repr__(self) -> str:
        return f"Corpus({self.description!r})"


def read_corpus(
    source: str | Path,
    *,
    on_error: OnError = "raise",
    on_duplicate: OnDuplicate = "error",
    skipped_to: str | Path | None = None,
    id_field: str | None = None,
    text_field: str | None = None,
    title_field: str | None = None,
    config: str | None = None,
    split: str | None = None,
) -> Corpus:
    """Open a corpus; nothing is read before the first pass.

    Parameters
    ----------
    source
        A BEIR folder (``corpus.jsonl``); a ``.jsonl``, ``.json`` (one object per line), ``.csv`` or ``.tsv`` file
        (with a header), each also with ``.gz``; a ``.parquet`` file or a folder of them; a folder that
        ``Dataset.save_to_disk`` wrote; or the name of a dataset on the Hub.
    on_error
        ``"raise"`` stops at the first unusable record; ``"skip"`` continues and counts them in ``Corpus.skipped``.
    on_duplicate
        ``"error"`` treats a second record of an id as an unusable one; ``"first"`` keeps the first and leaves out the
        others; ``"last"`` yields all in turn, so that a consumer which replaces by id keeps the last.
        `Corpus.duplicates` counts them.
    skipped_to
        File for the records that ``"skip"`` skips: JSON lines of ``file``, ``line`` (or ``row``), ``reason`` and
        ``raw``. Each pass replaces it; it is removed when nothing was skipped.
    id_field, text_field, title_field
        The fields to read; by default the first present of ``_id, id, doc_id`` and of ``text, contents``, and
        ``title``. An id may be an integer; a title may be missing unless `title_field` names it.
    config, split
        For datasets: the configuration, and the split (by default ``corpus``, else ``train``, else the first).

    Raises
    ------
    InputError
        When `source` does not exist or cannot be read.
    """
    if skipped_to is not None and local_path(skipped_to, "skipped_to").resolve() in (
        Path(source).resolve(),
        Path(source, "corpus.jsonl").resolve(),
    ):
        raise InputError(f"skipped records cannot be written to {skipped_to}: it is the corpus itself")
    default = Fields()
    fields = Fields(
        ids=(id_field,) if id_field else default.ids,
        texts=(text_field,) if text_field else default.texts,
        title=title_field or default.title,
        title_required=bool(title_field),
    )
    return Corpus(
        open_source(source, config=config, split=split),
        fields,
        on_error=on_error,
        on_duplicate=on_duplicate,
        skipped_to=skipped_to,
    )


class _SkippedFile:
    """Writer of the skipped records; the file appears when a pass ends, and only if a record was skipped."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial") if path is not None else None
        self._file: IO[str] | None = None

    def write(self, record: Record, unit: str, reason: str) -> None:
        if self._partial is None:
            return
        if self._file is None:
            self._file = self._partial.open("w", encoding="utf-8")
        line = {"file": record.file, unit: record.place, "reason": reason, "raw": record.raw}
        self._file.write(json.dumps(line, default=str) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None or self._partial is None:
            return
        if self._file is not None:
            self._file.close()
        if error is not None:
            self._partial.unlink(missing_ok=True)
        elif self._file is not None:
            self._partial.replace(self._path)
        else:
            self._path.unlink(missing_ok=True)
