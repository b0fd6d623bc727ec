"""LuceneIndex: the common part of the BM25 index and the impact index.

Lucene's files are in the folder itself, so Anserini's searchers open it as one of their own. Kind, format and
parameters are JSON in the user data of each Lucene commit: they cannot disagree with the index.
"""

import json
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, StorageError
from indexing.filters import FieldType, FilterLike, Values, parse_filter
from indexing.hits import Hits
from indexing.indexes.base import Index, Terms
from indexing.indexes.lucene.jvm import java_calls, java_class, java_errors
from indexing.indexes.lucene.matched_terms import matched_terms
from indexing.indexes.lucene.row import LuceneRow
from indexing.indexes.lucene.search import CONTENTS, ID, LuceneSearch
from indexing.inputs import local_path, require_positive
from indexing.json_text import parse_json
from indexing.plurals import counted
from indexing.seen_ids import SeenIds

FORMAT = 1
WRITE_BUFFER_MB = 64.0
"""Size of Lucene's buffer in Java's heap before it writes a segment: nearly all that indexing takes of the heap."""
LONGEST_ID = 32766
"""Lucene's own limit on a term, in bytes of UTF-8."""

DELETES_ALLOWED = 20.0
"""Percent of deleted documents beyond which Lucene merges segments to be rid of them (its own default is 33)."""

_KEY = "retrieve-rerank"
_SEQUENCE = "sequence"


class LuceneIndex(Index):
    """Base class of the BM25 and the impact index.

    A search finds every document added before it. Searches may run in several threads at once, and while another
    thread adds. Statistics count replaced and deleted documents until Lucene merges them away (`optimize` does so at
    once); impact scores use none.
    """

    norms: ClassVar[bool]
    """True if the length of a document counts."""

    def __init__(self, path: Path, settings: Mapping[str, Any], *, create: bool, read_only: bool) -> None:
        super().__init__(path, read_only=read_only)
        self.settings = dict(settings)
        self.fields: dict[str, FieldType] = dict(settings.get("fields", {}))
        self._writing = threading.RLock()
        self._refreshing = threading.RLock()
        self._stale = False
        self._sequence = 0 if create else _user_data(path)[_SEQUENCE]
        # In a new index an id never seen needs no look-up of a document to replace: a third faster.
        self._seen = SeenIds() if create else None
        with java_calls(path):
            self._similarity = self._make_similarity()
            self._parse = self._make_parser()
            self._directory = _directory(path)
            self._writer = None if read_only else self._open_writer(create)
            readers = java_class("org.apache.lucene.index.DirectoryReader")
            self._search = self._searching(readers.open(self._writer or self._directory))
            if read_only:
                self._sequence = self._opened_sequence()
        if create:
            self.commit()

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Self:
        """Open the last committed state.

        Parameters
        ----------
        path
            The folder.
        read_only
            Take no lock, so any number of processes may read; later commits of others are visible after `refresh`.

        Raises
        ------
        StorageError
            When there is no index, one of another kind, or one that is open for writing elsewhere.
        """
        path = local_path(path, "path")
        return cls(path, cls._read_settings(path), create=False, read_only=read_only)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        if isinstance(ids, str):
            raise InputError(f"ids must be a list of ids, not the string {ids!r}")
        with self._writing:
            before = len(self)
            with java_calls(self.path):
                writer, term_query = self._writable(), java_class("org.apache.lucene.search.TermQuery")
                for doc_id in ids:
                    writer.deleteDocuments(term_query(_term(doc_id)))
            self._stale = True
            return before - len(self)

    def commit(self, sequence: int | None = None) -> None:
        """Make the present state durable as `Index.commit`."""
        with self._writing, java_calls(self.path):
            writer = self._writable()
            number = self._sequence if sequence is None else int(sequence)
            if number != self._sequence:
                writer.setLiveCommitData(self._commit_data(number))
            writer.commit()
            self._sequence = number

    def optimize(self, segments: int = 1) -> None:
        """Merge to at most `segments` segments, which drops deleted and replaced documents, and commit.

        Searches become faster and BM25 counts living documents only; the whole index is rewritten.
        """
        require_positive(segments=segments)
        with self._writing:
            with java_calls(self.path):
                self._writable().forceMerge(segments)
            self._stale = True
            self.commit()

    def refresh(self) -> bool:
        """Load what another process has committed since; return whether something changed."""
        with self._refreshing:
            self._check_open()
            before = self._search
            self._stale = True
            self._refresh()
            if self._writer is None:
                with java_calls(self.path):
                    self._sequence = self._opened_sequence()
            return self._search is not before

    @property
    def size_bytes(self) -> int:
        """Bytes of the last commit."""
        return sum(file.stat().st_size for file in self.files())

    def close(self) -> None:
        """Release the files and the lock; uncommitted changes are lost. Running searches may finish."""
        with self._writing, self._refreshing:
            if self._lifetime.closed:
                return
            self._lifetime.closed = True
            self._retire(self._search)
            with java_calls(self.path):
                if self._writer is not None:
                    # Without changes to drop, `close` may end the merges that run; `rollback` would stop them.
                    self._writer.rollback() if self._writer.hasUncommittedChanges() else self._writer.close()
                self._directory.close()

    def __len__(self) -> int:
        with self.snapshot() as search:
            return search.documents

    def files(self) -> list[Path]:
        """Return the files of the last commit: those of an earlier one can stay until the writer is closed."""
        with java_calls(self.path):
            infos = java_class("org.apache.lucene.index.SegmentInfos").readLatestCommit(self._directory)
            committed = {str(name) for name in infos.files(True).toArray()}
        return [file for file in super().files() if file.name in committed]

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each hit's matched terms with their parts of the score; see `Index.matched_terms`."""
        with self.snapshot() as search:
            return matched_terms(search, self._parse, queries, hits)

    @property
    def positions(self) -> bool:
        """True if the positions of words are stored, which phrases need."""
        return bool(self.settings.get("positions", False))

    @abstractmethod
    def _make_similarity(self) -> Any:
        """Return Lucene's ``Similarity``, for writing and for searching."""

    @abstractmethod
    def _make_analyzer(self) -> Any:
        """Return Lucene's ``Analyzer`` of the texts that `_add` indexes."""

    @abstractmethod
    def _make_parser(self) -> Any:
        """Return the handle of a Java function from the text of a query to a Lucene ``Query``."""

    def _parser_over(self, reader: Any) -> Any:
        """Return the parser for one state of the index: the same for all, unless queries contain its statistics."""
        return self._parse

    @staticmethod
    def _make_folder(path: Path) -> None:
        with java_calls(path):
            if path.is_dir() and _holds_index(path):
                raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path} cannot be made a folder: {error.strerror}") from error

    @property
    def _text_fields(self) -> tuple[str, ...]:
        """The Lucene fields that hold text."""
        return (CONTENTS,)

    def _search_texts(self, queries: Sequence[str], k: int, filter: FilterLike | None) -> Hits:
        parsed = None if filter is None else parse_filter(filter, self.fields)
        with self.snapshot() as search:
            return search.search(queries, k, parsed)

    def _score_texts(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        if len(queries) != len(doc_ids):
            raise InputError(f"{counted(len(doc_ids), 'list')} of candidates for {counted(len(queries), 'query')}")
        with self.snapshot() as search:
            return search.score(queries, doc_ids)

    def _add(self, documents: Iterable[tuple[str, Sequence[str], Values]]) -> None:
        """Index each id with the text of every text field and the values of the declared fields."""
        with self._writing:
            with java_calls(self.path):
                writer, row = self._writable(), LuceneRow(self._text_fields, self.norms, self.fields, self.positions)
            for doc_id, texts, values in documents:
                new = self._seen is not None and self._seen.add(doc_id)
                # A turn for each document: a search that must refresh does not wait for the whole corpus.
                with java_calls(self.path):
                    row.fill(doc_id, texts, values)
                    if new:
                        writer.addDocument(row.document)
                    else:
                        writer.updateDocument(_term(doc_id), row.document)
                self._stale = True

    @contextmanager
    def snapshot(self) -> Iterator[LuceneSearch]:
        """Keep the present state open: a later refresh must not close it under a running search."""
        with self._refreshing:
            self._check_open()
            if self._stale:
                self._refresh()
            search = self._search
            search.users += 1
        try:
            with java_errors(self.path):
                yield search
        finally:
            with self._refreshing:
                search.users -= 1
                if search is not self._search or self._lifetime.closed:
                    self._retire(search)

    def _refresh(self) -> None:
        self._stale = False
        try:
            with java_calls(self.path):
                readers = java_class("org.apache.lucene.index.DirectoryReader")
                where = () if self._writer is None else (self._writer,)
                newer = readers.openIfChanged(self._search.reader, *where)
                if newer is None:
                    return
                old, self._search = self._search, self._searching(newer)
        except BaseException:
            # One that only reads keeps its state: a search must not move it later, without its sequence.
            self._stale = self._writer is not None
            raise
        self._retire(old)

    def _retire(self, search: LuceneSearch) -> None:
        """Close a replaced state once no search uses it."""
        if not search.users:
            search.built.clear()
            with java_calls(self.path):
                search.reader.close()

    def _opened_sequence(self) -> int:
        """Return the sequence of the commit that searches see; the folder's last one may be newer already."""
        sequence: int = _stored(self.path, self._search.reader.getIndexCommit())[_SEQUENCE]
        return sequence

    def _searching(self, reader: Any) -> LuceneSearch:
        return LuceneSearch(self.path, reader, self._similarity, self._parser_over(reader), self.fields)

    def _open_writer(self, create: bool) -> Any:
        config = java_class("org.apache.lucene.index.IndexWriterConfig")(self._make_analyzer())
        modes = java_class("org.apache.lucene.index.IndexWriterConfig$OpenMode")
        config.setOpenMode(modes.CREATE if create else modes.APPEND)
        config.setSimilarity(self._similarity)
        config.setRAMBufferSizeMB(WRITE_BUFFER_MB)
        merging = java_class("org.apache.lucene.index.TieredMergePolicy")()
        merging.setDeletesPctAllowed(DELETES_ALLOWED)
        config.setMergePolicy(merging)
        writer = java_class("org.apache.lucene.index.IndexWriter")(self._directory, config)
        if create:
            writer.setLiveCommitData(self._commit_data(0))
        return writer

    def _commit_data(self, sequence: int) -> Any:
        data = java_class("java.util.HashMap")()
        described = {"kind": self.kind, "format": FORMAT, "settings": self.settings, _SEQUENCE: sequence}
        data.put(_KEY, json.dumps(described))
        return data.entrySet()

    def _writable(self) -> Any:
        self._check_writable()
        return self._writer

    @classmethod
    def _read_settings(cls, path: Path) -> dict[str, Any]:
        stored = _user_data(path)
        if stored["kind"] != cls.kind:
            raise StorageError(f"{path} holds a Lucene index of kind {stored['kind']!r}, not {cls.kind!r}")
        if stored["format"] != FORMAT:
            raise StorageError(f"{path} has format {stored['format']}, this version reads {FORMAT}: build it again")
        return stored["settings"]


def check_id(doc_id: str) -> None:
    """Raise for an id that Lucene cannot store.

    Raises
    ------
    InputError
        Naming the id.
    """
    if not isinstance(doc_id, str) or not doc_id:
        raise InputError(f"an id must be a non-empty string, not {doc_id!r}")
    try:
        length = len(doc_id.encode())
    except UnicodeEncodeError:
        raise InputError(f"the id {doc_id!a} holds half of a surrogate pair, which no index can store") from None
    if length > LONGEST_ID:
        raise InputError(
            f"the id {doc_id[:40]!r}… is {counted(length, 'byte')} of UTF-8 long: Lucene takes {LONGEST_ID:,}"
        )


def _user_data(path: Path) -> dict[str, Any]:
    """Read the user data of the last commit."""
    with java_calls(path):
        if not path.is_dir() or not _holds_index(path):
            raise StorageError(f"{path} is not a Lucene index: nothing was committed there")
        infos = java_class("org.apache.lucene.index.SegmentInfos").readLatestCommit(_directory(path))
        return _stored(path, infos)


def _stored(path: Path, commit: Any) -> dict[str, Any]:
    """Return what this program wrote into the user data of a commit (Lucene's ``IndexCommit`` or ``SegmentInfos``)."""
    text = commit.getUserData().get(_KEY)
    if text is None:
        raise StorageError(f"{path} is a Lucene index that another program made: build it again with this one")
    return {_SEQUENCE: 0} | parse_json(text)


def _term(doc_id: str) -> Any:
    return java_class("org.apache.lucene.index.Term")(ID, doc_id)


def _directory(path: Path) -> Any:
    where = java_class("java.nio.file.Paths").get(str(path.resolve()))
    return java_class("org.apache.lucene.store.FSDirectory").open(where)


def _holds_index(path: Path) -> bool:
    with suppress(NotADirectoryError):
        return bool(java_class("org.apache.lucene.index.DirectoryReader").indexExists(_directory(path)))
    return False
