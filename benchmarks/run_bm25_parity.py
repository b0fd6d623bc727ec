"""Compares BM25 in Qdrant with BM25 in Lucene: scores and best documents on judged sets, before and after `optimize`.

    python benchmarks/run_bm25_parity.py --datasets scifact,cosqa --data-dir data --engine edge
    python benchmarks/run_bm25_parity.py --datasets scifact,cosqa --data-dir data --analyzer qdrant-en

Of each set 20% of the documents are replaced (their text twice) and 10% deleted. Each line says how far the scores of
the best 10 are from Lucene's, and how many queries have other documents among them apart from ties within 0.001.

With an analyzer of Qdrant's, which then scores the texts itself (`TextQuery`), scores are of other words: each line
says how many of Lucene's best 10 it finds, nDCG@10 of both, and the processor time of a query.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.evaluation_sets import load, markdown, named_datasets
from indexing.documents import Document
from indexing.indexes.base import Index
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.qdrant.bm25 import QdrantBm25Index
from indexing.indexes.qdrant.text_query import QdrantTextIndex
from pipelines.measures.evaluate import evaluate
from pipelines.measures.parity import parity

BATCH = 1000
TIE = 1e-3


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", required=True, help="names of sets, as for run_beir.py: scifact,squad:test1k")
    parser.add_argument("--data-dir", help="the folder of the sets")
    parser.add_argument("--analyzer", help="one of Qdrant's, such as qdrant-en, in place of Lucene's analysis")
    parser.add_argument("--engine", choices=["edge", "local"], default="edge")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and print a table."""
    options = parser().parse_args(arguments)
    rows = []
    for name in named_datasets(options.datasets):
        dataset = load(name, options.data_dir)
        documents = list(dataset.corpus)
        if options.analyzer:
            rows.append(compare_text_queries(name, documents, dataset, options.analyzer, options.engine))
            continue
        rows += compare(name, documents, list(dataset.queries.values()), options.engine)
    print(markdown(rows))
    return 0


def compare(name: str, documents: list[Document], queries: list[str], engine: Any) -> list[dict[str, Any]]:
    """Return a row for each state of the two indexes of a set."""
    with (
        tempfile.TemporaryDirectory() as folder,
        QdrantBm25Index.create_of_texts(Path(folder) / "qdrant", engine=engine) as qdrant,
        Bm25Index.create(Path(folder) / "lucene") as lucene,
    ):
        rows = []
        for index in (qdrant, lucene):
            store(index, documents)
            index.finish_indexing()
        lucene.optimize()
        rows.append({"set": name, "state": "built", **measured(qdrant, lucene, queries)})
        fifth, tenth = len(documents) // 5, len(documents) // 10
        longer = [Document(one.doc_id, f"{one.text} {one.text}", one.title) for one in documents[:fifth]]
        for index in (qdrant, lucene):
            store(index, longer)
            index.delete([one.doc_id for one in documents[-tenth:]])
        lucene.optimize()
        rows.append({"set": name, "state": "changed", **measured(qdrant, lucene, queries)})
        start = time.process_time()
        qdrant.optimize()
        seconds = f" ({time.process_time() - start:.1f} s)"
        rows.append({"set": name, "state": "optimised" + seconds, **measured(qdrant, lucene, queries)})
        return rows


def compare_text_queries(
    name: str, documents: list[Document], dataset: Any, analyzer: str, engine: Any
) -> dict[str, Any]:
    """Return a row on Qdrant's own scores beside Lucene's."""
    queries = list(dataset.queries.values())
    with (
        tempfile.TemporaryDirectory() as folder,
        QdrantTextIndex.create_of_texts(Path(folder) / "qdrant", analyzer=analyzer, engine=engine) as qdrant,
        Bm25Index.create(Path(folder) / "lucene") as lucene,
    ):
        row: dict[str, Any] = {"set": name, "queries": len(queries)}
        for index, of in ((qdrant, "Qdrant"), (lucene, "Lucene")):
            store(index, documents)
            index.optimize()
            index.search(queries[:10], 10)
            start = time.process_time()
            found = [index.search([query], 10) for query in queries]
            row[f"{of}: ms a query"] = round((time.process_time() - start) / len(queries) * 1000, 2)
            hits = index.search(queries, 10)
            assert [one[0].doc_ids for one in found] == [one.doc_ids for one in hits]
            measured_by = evaluate(hits, dataset.qrels, ["nDCG@10"], queries=list(dataset.queries))
            row[f"{of}: nDCG@10"] = round(next(iter(measured_by.means.values())), 4)
        alike = parity(qdrant.search(queries, 10), lucene.search(queries, 10), 10, tie=TIE)
        quantiles = ", ".join(f"{value:.2f}" for value in alike.quantiles.values())
        return {**row, "overlap@10": round(alike.overlap, 3), "scores differ by (.5, .9, .99)": quantiles}


def store(index: Index, documents: list[Document]) -> None:
    """Store documents in batches."""
    for start in range(0, len(documents), BATCH):
        part = documents[start : start + BATCH]
        index.upsert([one.doc_id for one in part], part, [{}] * len(part))


def measured(qdrant: QdrantBm25Index, lucene: Bm25Index, queries: list[str]) -> dict[str, Any]:
    """Return how far the answers differ."""
    found, expected = qdrant.search(queries, 10), lucene.search(queries, 10)
    theirs = lucene.score(queries, [ranking.doc_ids for ranking in found])
    differences = np.abs(found.scores / theirs - 1) if len(theirs) else np.zeros(1)
    other = 0
    for ours, best in zip(found, expected, strict=True):
        lowest = min(best.scores, default=0.0)
        lost = [score for doc_id, score in zip(best.doc_ids, best.scores, strict=True) if doc_id not in ours.doc_ids]
        other += any(score > lowest * (1 + TIE) for score in lost)
    return {
        "queries": len(queries),
        "largest difference": f"{differences.max():.1e}",
        "median": f"{np.median(differences):.1e}",
        "queries with another top 10": other,
        "drift": "; ".join(qdrant.words_settings.notes) or "none",
    }


if __name__ == "__main__":
    raise SystemExit(main())
