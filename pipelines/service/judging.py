"""Judgements made on the page, in files that ``retrieve evaluate`` and ``retrieve tune`` read."""

import json
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from indexing.corpora.queries import read_qrels
from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.permissions import check_output


@dataclass(frozen=True, slots=True)
class JudgementBody:
    """One judgement.

    Parameters
    ----------
    collection, query, doc_id
        What was searched for, where, and the document that is judged.
    grade
        0 for a document that is not relevant; a higher number for one that is.
    """

    collection: str = field(metadata={"is": "the name of a collection"})
    query: str = field(metadata={"is": "the text that was searched for"})
    doc_id: str = field(metadata={"is": "the id of the judged document"})
    grade: int = field(metadata={"is": "0 or more", "min": 0, "below": 101})


class Judgements:
    """A qrels file in BEIR's form, and beside it a file of the queries.

    A later judgement of the same query and document replaces the earlier one.

    Parameters
    ----------
    path
        The qrels file; the queries are in ``NAME.queries.jsonl``.

    Raises
    ------
    StorageError
        When no file can be written there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = local_path(path, "path")
        check_output(self.path)
        self.queries = self.path.with_name(f"{self.path.stem}.queries.jsonl")
        self._lock = threading.Lock()

    def add(self, query: str, doc_id: str, grade: int) -> str:
        """Store a judgement durably; return the id of the query.

        Raises
        ------
        InputError
            For an id that the file's form cannot hold.
        """
        if any(char in doc_id for char in "\t\r\n"):
            raise InputError(f"the id {doc_id!r} has a tab or a line break, which a qrels file cannot hold")
        query = " ".join(query.split())
        query_id = sha256(query.encode("utf-8", "replace")).hexdigest()[:12]
        with self._lock:
            judged = read_qrels(self.path) if self.path.is_file() and self.path.stat().st_size else {}
            if query_id not in judged:
                line = json.dumps({"_id": query_id, "text": query}, ensure_ascii=True)
                before = self._written_queries()
                _write(self.queries, f"{before}{line}\n")
            judged.setdefault(query_id, {})[doc_id] = grade
            rows = [f"{each}\t{doc}\t{grade}" for each, grades in judged.items() for doc, grade in grades.items()]
            _write(self.path, "\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
        return query_id

    def _written_queries(self) -> str:
        try:
            return self.queries.read_text("utf-8") if self.queries.is_file() else ""
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.queries} is not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start}): move it away"
            ) from None


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
