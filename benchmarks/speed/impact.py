"""Time the impact index beside Anserini's indexer and Lucene's own search.

Both sides run in alternation in one process, hence in one JVM; times are medians. One process has only one peak of
memory, so the rows have none.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Row, timed_row
from indexing.hits import Hits
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.lucene.java_functions import as_function, bind, compose, method
from indexing.indexes.lucene.jvm import java_class
from indexing.indexes.lucene.search import top_docs

SEED = 0
K = 100
WARM_UP = 10


def indexing_beside_anserini(
    vocabulary: Sequence[str], documents: int = 20_000, terms: int = 140, repeats: int = 3
) -> list[Row]:
    """Time indexing and commit beside ``IndexCollection`` on a ``JsonVectorCollection``, with one and more threads.

    Each side reads its own input format: theirs JSON from disk, ours a CSR matrix in memory. Agreement is the share of
    queries for which Anserini's searcher on its index and ours on ours return the same ids and scores.
    """
    rng = np.random.default_rng(SEED)
    weights, queries = (
        random_weights(documents, terms, len(vocabulary), rng),
        random_weights(50, 34, len(vocabulary), rng),
    )
    ids = [f"d{number:08}" for number in range(documents)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for threads in sorted({1, os.cpu_count() or 1, 2 * (os.cpu_count() or 1)}):
            corpus = write_json_vectors(root / f"corpus-{threads}", ids, weights, vocabulary, files=4 * threads)

            def ours(run: int, threads: int = threads) -> None:
                with ImpactIndex.create(root / f"ours-{threads}-{run}", vocabulary=vocabulary) as index:
                    index.upsert(ids, weights)

            def theirs(run: int, threads: int = threads, corpus: Path = corpus) -> None:
                run_index_collection(corpus, root / f"theirs-{threads}-{run}", threads)

            ours_s, theirs_s = by_turns(ours, theirs, repeats)
            with ImpactIndex.open(root / f"ours-{threads}-0", read_only=True) as index:
                found = index.search(queries, K)
            expected = search_with_anserini(root / f"theirs-{threads}-0", queries, vocabulary)
            detail = f"{documents} documents, {terms} terms, their threads {threads}"
            agreement = share_equal(found, expected)
            rows.append(timed_row("impact", "Anserini IndexCollection", "default", ours_s, theirs_s, agreement, detail))
    return rows


def searching_beside_lucene(
    vocabulary: Sequence[str], documents: int = 20_000, terms: int = 34, queries: int = 200, repeats: int = 7
) -> list[Row]:
    """Time our search call beside a loop of ``IndexSearcher.search`` over parsed queries within one JNI call.

    Ours makes one call per query in one row, one call for all queries in the other. Agreement is the share of queries
    for which Anserini's searcher on the same index returns the same ids and scores.
    """
    rng = np.random.default_rng(SEED)
    batch = random_weights(queries, terms, len(vocabulary), rng)
    singles = [batch[number] for number in range(queries)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        write_index(path, vocabulary, documents, rng)
        with ImpactIndex.open(path, read_only=True) as index:
            bare = bare_search(index, batch)
            agreement = share_equal(index.search(batch, K), search_with_anserini(path, batch, vocabulary))
            rows = []
            for name, ours in (
                ("one query a call", lambda run: [index.search(single, K) for single in singles]),
                ("all in one call", lambda run: index.search(batch, K)),
            ):
                # Warm up Java's compiler.
                by_turns(ours, bare, WARM_UP)
                ours_s, theirs_s = by_turns(ours, bare, repeats)
                detail = f"{documents} documents, {queries} queries, {terms} terms, k={K}, {name}"
                rows.append(
                    timed_row("impact", "Lucene IndexSearcher.search", "default", ours_s, theirs_s, agreement, detail)
                )
    return rows


def write_index(path: Path, vocabulary: Sequence[str], documents: int, rng: np.random.Generator) -> None:
    """Write our index of documents with 140 random terms each."""
    with ImpactIndex.create(path, vocabulary=vocabulary) as index:
        ids = [f"d{number:08}" for number in range(documents)]
        index.upsert(ids, random_weights(documents, 140, len(vocabulary), rng))


def random_weights(rows: int, terms: int, columns: int, rng: np.random.Generator) -> csr_matrix:
    """Return SPLADE-like weights: `terms` per row, terms of skewed frequency, mean impact about 80 at scale 100."""
    share = 1 / np.arange(10, columns + 10) ** 0.8
    drawn = rng.choice(columns, (rows, 4 * terms), p=share / share.sum())
    chosen = [np.sort(rng.permutation(np.unique(row))[:terms]) for row in drawn]
    weights = rng.gamma(2.0, 0.4, rows * terms).astype(np.float32) + np.float32(0.01)
    return csr_matrix((weights, np.concatenate(chosen), np.arange(0, rows * terms + 1, terms)), shape=(rows, columns))


def by_turns(ours: Callable[[int], object], theirs: Callable[[int], object], repeats: int) -> tuple[float, float]:
    """Run the two in alternation; return the median seconds of each."""
    times: tuple[list[float], list[float]] = [], []
    for run in range(repeats):
        for function, seconds in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            function(run)
            seconds.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def bare_search(index: ImpactIndex, weights: csr_matrix) -> Callable[[int], object]:
    """Return a function that searches all queries, parsed beforehand, with one call into Java."""
    stream, function = "java/util/stream/", "java.util.function.Function"
    parser = java_class("org.apache.lucene.queryparser.classic.QueryParser")
    keyword = java_class("org.apache.lucene.analysis.core.KeywordAnalyzer")()
    parsed = java_class("java.util.ArrayList")()
    for text in index.query_texts(weights):
        parsed.add(parser("contents", keyword).parse(text))
    # The count returns one number. Unlike Stream.count(), a counting collector does not let Java skip the searches.
    collect = method("java.util.stream.Stream", "collect", f"(L{stream}Collector;)Ljava/lang/Object;")
    mapped = method("java.util.stream.Stream", "map", f"(Ljava/util/function/Function;)L{stream}Stream;")
    with index.snapshot() as search:
        each = as_function(compose(top_docs(search.searcher, K)))
    counting = java_class("java.util.stream.Collectors").counting()
    search_all = as_function(
        compose(
            method("java.util.Collection", "stream", f"()L{stream}Stream;"),
            bind(mapped, 1, each),
            bind(collect, 1, counting),
        )
    )
    import jnius

    return lambda run: jnius.cast(function, search_all).apply(parsed)


def search_with_anserini(path: Path, weights: csr_matrix, vocabulary: Sequence[str]) -> list[list[tuple[str, float]]]:
    """Search with Anserini's ``SimpleImpactSearcher``; return ids and scores for each row."""
    searcher = java_class("io.anserini.search.SimpleImpactSearcher")(str(path))
    found = []
    for row in weights:
        query = java_class("java.util.HashMap")()
        for column, weight in zip(row.indices, row.data, strict=True):
            query.put(vocabulary[column], java_class("java.lang.Integer")(int(np.rint(weight * np.float32(100)))))
        found.append([(hit.docid, hit.score) for hit in searcher.search(query, K)])
    searcher.close()
    return found


def share_equal(hits: Hits, expected: Sequence[Sequence[tuple[str, float]]]) -> float:
    """Return the share of queries with the same ids and scores in the same order."""
    return float(
        np.mean(
            [
                list(zip(ranking.doc_ids, ranking.scores.tolist(), strict=True)) == list(theirs)
                for ranking, theirs in zip(hits, expected, strict=True)
            ]
        )
    )


def write_json_vectors(
    folder: Path, ids: Sequence[str], weights: csr_matrix, vocabulary: Sequence[str], files: int
) -> Path:
    """Write the documents as a ``JsonVectorCollection``; Anserini reads each file with one thread."""
    folder.mkdir()
    impacts = np.rint(weights.data * np.float32(100)).astype(int).tolist()
    columns, bounds = weights.indices.tolist(), weights.indptr.tolist()
    for part in range(files):
        with (folder / f"part-{part}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(part, len(ids), files):
                span = slice(bounds[number], bounds[number + 1])
                pairs = zip(columns[span], impacts[span], strict=True)
                vector = {vocabulary[column]: impact for column, impact in pairs if impact}
                file.write(json.dumps({"id": ids[number], "contents": "", "vector": vector}) + "\n")
    return folder


def run_index_collection(corpus: Path, index: Path, threads: int) -> None:
    """Run Anserini's indexer in our JVM, without its log."""
    arguments = ["-collection", "JsonVectorCollection", "-input", str(corpus), "-index", str(index)]
    arguments += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", str(threads), "-impact", "-pretokenized"]
    with silence():
        java_class("io.anserini.index.IndexCollection").main(arguments)


@contextmanager
def silence() -> Iterator[None]:
    """Discard what Java writes to the standard streams of the process."""
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for stream, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
