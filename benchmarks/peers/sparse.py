"""Search term weights with Seismic and BMP: a process that `run_speed.py impact` starts.

    python sparse.py JOB.json

This runs in the environment that `make_environment.py` makes, and imports nothing of the project. The job names the
engine, an .npz file with the documents (``data``, ``indices``, ``indptr``), one for each set of queries, the depth
``k`` and a file for the answer: processor seconds of the build, and for each setting and set of queries the median
processor seconds of a search, one query a call on one thread, and the numbers of the documents found.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

BLOCK = 32
"""Number of documents in a block of BMP."""
LARGEST = 255
"""BMP's impacts are whole numbers of 8 bits: the largest weight of the documents, and of each query, becomes this."""
WARM_UP = 10

Row = tuple[np.ndarray, np.ndarray]
"""Columns and weights of a document or a query."""
Search = Callable[[Row], list[int]]


def main() -> int:
    """Run a job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    documents = rows(job["documents"])
    start = time.process_time()
    searches = ENGINES[job["engine"]](documents, job["k"])
    build = time.process_time() - start
    answers = []
    for setting, search, prepared in searches:
        for file in job["queries"]:
            times, found = [], []
            queries = [prepared(query) for query in rows(file)]
            for query in queries[:WARM_UP]:
                search(query)
            for query in queries:
                start = time.thread_time()
                hits = search(query)
                times.append(time.thread_time() - start)
                found.append(hits)
            answers.append({"setting": setting, "queries": file, "seconds": median(times), "found": found})
    Path(job["answer"]).write_text(json.dumps({"build": build, "answers": answers}))
    return 0


def rows(file: str) -> list[Row]:
    """Read a matrix of weights as its rows."""
    stored = np.load(file)
    bounds = stored["indptr"]
    return [
        (stored_indices, stored_data)
        for stored_indices, stored_data in zip(
            np.split(stored["indices"], bounds[1:-1]), np.split(stored["data"], bounds[1:-1]), strict=True
        )
    ]


def seismic(documents: list[Row], k: int) -> Iterator[tuple[str, Search, Callable[[Row], Any]]]:
    """Index with Seismic's own defaults; search with more and more terms of a query."""
    from seismic import SeismicDataset, SeismicIndex, get_seismic_string

    dataset = SeismicDataset()
    offsets = np.cumsum([0, *(len(columns) for columns, _ in documents)], dtype=np.int64)
    columns = np.concatenate([columns for columns, _ in documents]).astype(np.int64)
    weights = np.concatenate([weights for _, weights in documents]).astype(np.float32)
    dataset.add_documents_by_id([str(number) for number in range(len(documents))], columns, weights, offsets)
    index = SeismicIndex.build_from_dataset(dataset, num_threads=1)
    text = get_seismic_string()

    def prepared(query: Row) -> Any:
        return np.array([str(column) for column in query[0]], dtype=text), query[1].astype(np.float32)

    made = []
    for cut, factor in ((5, 0.9), (10, 0.8), (40, 0.7), (200, 0.5)):

        def search(query: Any, cut: int = cut, factor: float = factor) -> list[int]:
            return [int(hit[2]) for hit in index.search("", query[0], query[1], k, cut, factor)]

        made.append((f"Seismic, query_cut {cut}, heap_factor {factor}", search, prepared))
    return iter(made)


def bmp(documents: list[Row], k: int) -> Iterator[tuple[str, Search, Callable[[Row], Any]]]:
    """Index with BMP; search with exact bounds, and with scaled ones."""
    from bmp import Indexer, Searcher

    largest = max(float(weights.max()) for _, weights in documents if len(weights))

    def impacts(row: Row, largest: float) -> dict[str, int]:
        rounded = np.maximum(np.rint(row[1] * (LARGEST / largest)), 1).astype(int).tolist()
        return dict(zip(map(str, row[0].tolist()), rounded, strict=True))

    def prepared(query: Row) -> dict[str, int]:
        return impacts(query, float(query[1].max()))

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "index.bmp")
        indexer = Indexer(file, BLOCK, compress_range=False)
        for number, row in enumerate(documents):
            indexer.add_document(str(number), impacts(row, largest))
        indexer.finish()
        searcher = Searcher(file)
    made = []
    for alpha, beta in ((1.0, 1.0), (0.8, 0.7)):

        def search(query: dict[str, int], alpha: float = alpha, beta: float = beta) -> list[int]:
            return [int(doc_id) for doc_id in searcher.search(query, k, alpha, beta)[0]]

        made.append((f"BMP, blocks of {BLOCK}, alpha {alpha}, beta {beta}", search, prepared))
    return iter(made)


ENGINES = {"seismic": seismic, "bmp": bmp}

if __name__ == "__main__":
    sys.exit(main())
