"""Time the impact index beside pyserini's ``LuceneImpactSearcher``: the whole Python call, on one index.

Queries are encoded beforehand: theirs looks up the term weights of a query, ours has them as a row of a matrix. Theirs
returns Java objects, from which ids and scores are read one by one; ours returns columns. So each comparison runs
twice: the call alone, and the call with the id and score of every hit read.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.speed.impact import SEED, WARM_UP, K, by_turns, random_weights, share_equal, silence, write_index
from benchmarks.speed.measure import Row, timed_row
from indexing.errors import SetupError
from indexing.indexes.lucene import jvm
from indexing.indexes.lucene.impact import ImpactIndex


class WeightLookup:
    """Query encoder for pyserini that looks up precomputed weights."""

    def __init__(self, weights: Mapping[str, Mapping[str, int]]) -> None:
        self._weights = weights

    def encode(self, query: str) -> Mapping[str, int]:
        """Return the weight of each term of a query."""
        return self._weights[query]


def searching_beside_pyserini(
    vocabulary: Sequence[str], documents: int = 20_000, terms: int = 34, queries: int = 200, repeats: int = 7
) -> list[Row]:
    """Time ``search`` and ``batch_search`` beside ours; agreement is the share of queries with equal hits."""
    rng = np.random.default_rng(SEED)
    batch = random_weights(queries, terms, len(vocabulary), rng)
    singles = [batch[number] for number in range(queries)]
    names = [f"q{number}" for number in range(queries)]
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        write_index(path, vocabulary, documents, rng)
        with (
            _searcher(path, WeightLookup(dict(zip(names, _terms(batch, vocabulary), strict=True)))) as theirs,
            ImpactIndex.open(path, read_only=True) as index,
        ):

            def one_by_one(read: bool) -> list[Any]:
                answers = [theirs.search(name, k=K) for name in names]
                return [_read(hits) for hits in answers] if read else answers

            def all_at_once(read: bool) -> list[Any]:
                answers = theirs.batch_search(names, names, k=K, threads=threads)
                return [_read(answers[name]) for name in names] if read else [answers[name] for name in names]

            def ours_one_by_one(read: bool) -> Any:
                answers = [index.search(single, K) for single in singles]
                return [(hits.doc_ids, hits.scores.tolist()) for hits in answers] if read else answers

            def ours_at_once(read: bool) -> Any:
                hits = index.search(batch, K)
                return (hits.doc_ids, hits.scores.tolist()) if read else hits

            agreement = share_equal(index.search(batch, K), one_by_one(True))
            rows = []
            for how, ours, peer in (
                ("one query a call", ours_one_by_one, one_by_one),
                (f"all in one call, {threads} threads", ours_at_once, all_at_once),
            ):
                for read in (False, True):
                    detail = f"{documents} documents, {queries} queries, {terms} terms, k={K}, {how}"
                    detail += ", ids and scores read" if read else ", hits not read"
                    rows.append(_row(detail, agreement, *_timed(ours, peer, read, repeats)))
    return rows


def _timed(
    ours: Callable[[bool], object], theirs: Callable[[bool], object], read: bool, repeats: int
) -> tuple[float, float]:
    # Warm up Java's compiler.
    by_turns(lambda run: ours(read), lambda run: theirs(read), WARM_UP)
    return by_turns(lambda run: ours(read), lambda run: theirs(read), repeats)


@contextmanager
def _searcher(path: Path, encoder: WeightLookup) -> Iterator[Any]:
    """Open pyserini's searcher in our JVM; its import requires an OpenAI key, but does not use it."""
    jvm.start()
    key = os.environ.get("OPENAI_API_KEY")
    os.environ.setdefault("OPENAI_API_KEY", "none")
    try:
        from pyserini.search.lucene import LuceneImpactSearcher
    except Exception as error:
        raise SetupError(
            f"pyserini cannot be imported ({error}): install it with all its requirements (`pip install pyserini`)"
        ) from error
    finally:
        if key is None:
            del os.environ["OPENAI_API_KEY"]
    with silence():
        # By default the searcher drops terms with a small idf.
        searcher = LuceneImpactSearcher(str(path), encoder, min_idf=float("-inf"))
    try:
        yield searcher
    finally:
        searcher.object.close()


def _terms(weights: csr_matrix, vocabulary: Sequence[str]) -> Iterator[dict[str, int]]:
    for row in weights:
        impacts = np.rint(row.data * np.float32(100)).astype(int).tolist()
        yield {vocabulary[column]: impact for column, impact in zip(row.indices, impacts, strict=True)}


def _read(hits: Any) -> list[tuple[str, float]]:
    return [(hit.docid, hit.score) for hit in hits]


def _row(detail: str, agreement: float, ours_s: float, theirs_s: float) -> Row:
    return timed_row("impact", "pyserini LuceneImpactSearcher", "default", ours_s, theirs_s, agreement, detail)
