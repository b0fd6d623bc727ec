"""TREC run files: one line per hit, ``query Q0 document rank score tag``."""

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from indexing.corpora.sources.text_files import TextFile
from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.hits import Hits, Run
from indexing.inputs import local_path, shown, text, texts
from indexing.plurals import counted

_WHITE_SPACE = re.compile(r"\s")


def write_trec_run(
    path: str | Path,
    hits: Hits | Mapping[str, Mapping[str, float]],
    queries: Sequence[str] | None = None,
    *,
    tag: str = "retrieve",
) -> None:
    """Write a run so that every reader sees our order, however it breaks ties.

    trec_eval reads scores as float32, ignores the rank column and breaks ties by document id. So scores are written
    as float32, and a score that is not below the one before it is lowered to the next float32 below that one.

    Parameters
    ----------
    path
        The file; an old one is replaced only when the new one is complete. Its folder is created if missing.
    hits
        `Hits`, or a run ``{query_id: {doc_id: score}}``, which is sorted first (score descending, then doc_id
        ascending).
    queries
        With `Hits`: the query ids, in order. With a run: the queries to write, by default all.
    tag
        The run's name, the last column.

    Raises
    ------
    InputError
        For an id (or tag) that is empty or contains white space, which would shift the columns, and for a score
        that is not a finite float32.
    """
    if isinstance(hits, Hits):
        if queries is None:
            raise InputError("writing Hits needs the query ids of their rows: pass queries=[…]")
    else:
        _check_run(hits)
        queries = list(hits) if queries is None else texts(queries, "queries")
        hits = Hits.from_run(hits, queries)
    if len(queries) != len(hits):
        raise InputError(f"{len(queries)} query ids for the hits of {counted(len(hits), 'query')}")
    _check_names("tag", [tag])
    _check_names("query id", queries)
    _check_names("doc_id", hits.ids[np.unique(hits.codes)].tolist())
    scores = strictly_decreasing(hits.scores, hits.offsets)
    if not np.isfinite(scores).all():
        worst = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(
            f"the score {hits.scores[worst]} of document {str(hits.ids[hits.codes[worst]])!r} for query "
            f"{queries[int(hits.rows[worst])]!r} is not a finite float32, the type trec_eval reads"
        )
    path = local_path(path, "path")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: _write(file, hits, scores, queries, tag))


def read_trec_run(path: str | Path) -> Run:
    """Read a run file, plain or ``.gz``, as ``{query_id: {doc_id: score}}``; the rank column is ignored.

    Raises
    ------
    InputError
        Naming file and line: for a missing file, a line without six columns, a score that is not a finite number, or
        a document that occurs twice for one query.
    """
    path = local_path(path, "path").expanduser()
    if not path.is_file():
        raise InputError(f"{path} does not exist: pass a TREC run file")
    run: Run = {}
    for number, line in TextFile(path).text_lines():
        columns = line.split()
        if len(columns) != 6:
            raise InputError(
                f"{path}, line {number}: {counted(len(columns), 'column')} where a run has 6 (query Q0 document "
                f"rank score tag)"
            )
        query_id, _, doc_id, _, score, _ = columns
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{path}, line {number}: the score must be a finite number, not {score!r}")
        scores = run.setdefault(query_id, {})
        if doc_id in scores:
            raise InputError(f"{path}, line {number}: document {doc_id!r} already occurs above for query {query_id!r}")
        scores[doc_id] = value
    return run


def strictly_decreasing(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Lower descending scores by as little as needed to make each query's strictly descending in float32.

    Parameters
    ----------
    scores, offsets
        As in `Hits`.

    Returns
    -------
    float32 [hits]
        ``s[i] = min(float32(score[i]), nextafter(s[i - 1], -inf))``; not finite where float32 cannot hold it.
    """
    with np.errstate(over="ignore"):
        bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
    # With the negative half reversed, the float32 numbers in order are consecutive integers.
    steps = np.where(bits < 0, np.iinfo(np.int32).min - bits, bits)
    counts = np.diff(offsets)
    rows = np.repeat(np.arange(len(counts)), counts)
    positions = np.arange(len(steps)) - offsets[:-1][rows]
    # Shifting each row below all values of the one before lets a single running minimum serve all rows.
    shifts = rows << 34
    steps = np.minimum.accumulate(steps + positions - shifts) - positions + shifts
    bits = np.where(steps < 0, np.iinfo(np.int32).min - steps, steps)
    return bits.astype(np.int32).view(np.float32)


def _write(file: IO[bytes], hits: Hits, scores: NDArray[np.float32], queries: Sequence[str], tag: str) -> None:
    bounds = hits.offsets.tolist()
    for query_id, start, stop in zip(queries, bounds, bounds[1:], strict=False):
        names = hits.ids[hits.codes[start:stop]].tolist()
        # The shortest decimals that read back as the same float32.
        decimals = scores[start:stop].astype(str).tolist()
        lines = [
            f"{query_id} Q0 {doc_id} {rank} {score} {tag}\n"
            for rank, (doc_id, score) in enumerate(zip(names, decimals, strict=True), start=1)
        ]
        file.write("".join(lines).encode())


def _check_run(run: Any) -> None:
    """Raise for what is not ``{query_id: {doc_id: score}}``."""
    if not isinstance(run, Mapping):
        raise InputError(f"hits must be Hits or {{query_id: {{doc_id: score}}}}, not {shown(run)}")
    for query_id, ranking in run.items():
        text(query_id, "a query id")
        if not isinstance(ranking, Mapping):
            raise InputError(f"query {query_id!r}: its hits must be {{doc_id: score}}, not {shown(ranking)}")
        for doc_id, score in ranking.items():
            text(doc_id, f"query {query_id!r}: a doc_id")
            if isinstance(score, bool) or not isinstance(score, Real):
                raise InputError(f"query {query_id!r}: the score of {doc_id!r} must be a number, not {shown(score)}")


def _check_names(what: str, names: Sequence[str]) -> None:
    if "" in names:
        raise InputError(f"a {what} is empty, which a TREC run cannot represent")
    if _WHITE_SPACE.search("\0".join(names)):
        culprit = next(name for name in names if _WHITE_SPACE.search(name))
        raise InputError(f"the {what} {culprit!r} contains white space, which a TREC run cannot represent: rename it")
