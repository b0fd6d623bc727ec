"""Readers of queries and relevance judgements (qrels) in the formats of BEIR and TREC."""

import re
from collections.abc import Iterator
from pathlib import Path

from indexing.corpora.sources import Source, open_source
from indexing.corpora.sources.records import error_at, take_id, take_text
from indexing.corpora.sources.text_files import TextFile
from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.plurals import counted

QUERY_ID_FIELDS = ("_id", "id", "query_id", "qid")
QUERY_TEXT_FIELDS = ("text", "query")

GRADE_HEADERS = ("score", "grade", "relevance", "rel", "label")
"""Names of the third column in the header line of a qrels file."""

_GRADE = re.compile(r"[+-]?[0-9]+")


def read_queries(path: str | Path) -> dict[str, str]:
    """Read ``{query_id: text}`` from a BEIR folder (``queries.jsonl``) or a file of records.

    The id is the field ``_id``, ``id``, ``query_id`` or ``qid``, the text is ``text`` or ``query``; other fields are
    ignored. `indexing.corpora.corpus.read_corpus` lists the file formats. A TSV file of two columns (id, text) needs no
    line of names, as the topics of MS MARCO and Pyserini have none.

    Raises
    ------
    InputError
        For the first unusable record, naming file, line and field.
    """
    topics = local_path(path, "path").expanduser()
    if topics.is_file() and topics.name.removesuffix(".gz").endswith(".tsv") and _has_no_names(topics):
        return _unnamed_queries(topics)
    return queries_of(open_source(path, stem="queries"))


def _has_no_names(path: Path) -> bool:
    """Return whether the first line of a TSV file is a query: two columns, and neither is called as a field is."""
    first = next((line for _, line in TextFile(path).text_lines()), "")
    columns = [column.strip().lower() for column in first.split("\t")]
    return len(columns) == 2 and not set(columns) & {*QUERY_ID_FIELDS, *QUERY_TEXT_FIELDS}


def _unnamed_queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for number, line in TextFile(path).text_lines():
        query_id, _, text = (part.strip() for part in line.partition("\t"))
        if not (query_id and text):
            raise InputError(f"{path}, line {number}: a query is an id, a tab and its text, not {line[:80]!r}")
        if query_id in queries:
            raise InputError(f"{path}, line {number}: the query id {query_id!r} already occurs above")
        queries[query_id] = text
    return queries


def queries_of(source: Source) -> dict[str, str]:
    """Read ``{query_id: text}`` from an opened source, as `read_queries` does."""
    queries: dict[str, str] = {}
    for record in source.records():
        try:
            if record.problem:
                raise InputError(record.problem)
            values = dict(record.values)
            query_id = take_id(values, QUERY_ID_FIELDS)
            text = take_text(values, QUERY_TEXT_FIELDS)
            if not text.strip():
                raise InputError(f"the query {query_id!r} is empty")
            if query_id in queries:
                raise InputError(f"the query id {query_id!r} already occurs above: make the ids unique")
        except InputError as problem:
            raise error_at(source, record, problem) from None
        queries[query_id] = text
    return queries


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read ``{query_id: {doc_id: grade}}``.

    Parameters
    ----------
    path
        A file, plain or ``.gz``: BEIR's three columns (query, document, grade) separated by tabs, with or without a
        header line; or TREC's four (query, iteration, document, grade) separated by white space. The first line
        decides.

    Raises
    ------
    InputError
        Naming file and line: for a missing file, a wrong number of columns, a grade that is not an integer, an empty
        id, or a document judged twice with different grades.
    """
    path = local_path(path, "path").expanduser()
    if not path.is_file():
        raise InputError(f"{path} does not exist: pass a qrels file (BEIR's TSV or TREC's four columns)")
    qrels: dict[str, dict[str, int]] = {}
    for number, query_id, doc_id, grade in _judgements(path):
        try:
            _judge(qrels, query_id, doc_id, grade)
        except InputError as problem:
            raise InputError(f"{path}, line {number}: {problem}") from None
    if not qrels:
        raise InputError(f"{path} holds no judgements")
    return qrels


def qrels_of(source: Source) -> dict[str, dict[str, int]]:
    """Read ``{query_id: {doc_id: grade}}`` from a table with BEIR's columns ``query-id``, ``corpus-id``, ``score``.

    Without a ``score`` the grade is 1; ``corpus-id`` may hold a list of ids, as in NanoBEIR.

    Raises
    ------
    InputError
        As in `read_qrels`, naming the row.
    """
    qrels: dict[str, dict[str, int]] = {}
    for record in source.records():
        try:
            if record.problem:
                raise InputError(record.problem)
            values = dict(record.values)
            query_id, doc_ids = take_id(values, ("query-id",)), values.get("corpus-id")
            for doc_id in doc_ids if isinstance(doc_ids, list) else [take_id(values, ("corpus-id",))]:
                _judge(qrels, query_id, str(doc_id), str(values.get("score", 1)))
        except InputError as problem:
            raise error_at(source, record, problem) from None
    return qrels


def _judge(qrels: dict[str, dict[str, int]], query_id: str, doc_id: str, grade: str) -> None:
    if not _GRADE.fullmatch(grade):
        raise InputError(f"the grade must be an integer, not {grade!r}")
    if not query_id or not doc_id:
        raise InputError(f"the {'document' if query_id else 'query'} id is empty")
    judged = qrels.setdefault(query_id, {})
    if judged.setdefault(doc_id, int(grade)) != int(grade):
        raise InputError(
            f"document {doc_id!r} has grade {grade} for query {query_id!r}, but {judged[doc_id]} above: remove one"
        )


def _judgements(path: Path) -> Iterator[tuple[int, str, str, str]]:
    tabs = None
    for number, line in TextFile(path).text_lines():
        if tabs is None:
            tabs = line.count("\t") == 2
            if tabs and line.split("\t")[2].strip().lower() in GRADE_HEADERS:
                continue
        columns = line.split("\t") if tabs else line.split()
        if len(columns) != (3 if tabs else 4):
            expected = "3 columns separated by tabs" if tabs else "4 columns (query, iteration, document, grade)"
            raise InputError(f"{path}, line {number}: {counted(len(columns), 'column')} where {expected} were expected")
        yield number, columns[0], columns[-2], columns[-1]
