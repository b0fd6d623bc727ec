"""A small collection, legs over it, and seven systems' results on it."""

import pytest

from benching import ALL, QRELS, QUERIES, bench
from checkpoints import write_bert
from corpus_files import write_lines
from pipelines.evaluation.systems import LegSpec
from pipelines.models import Models


@pytest.fixture(scope="session")
def folder(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("sets") / "kitchen"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": d.doc_id, "title": d.title, "text": d.text} for d in corpus])
    write_lines(folder / "queries.jsonl", [{"_id": query_id, "text": text} for query_id, text in QUERIES.items()])
    rows = [f"{query_id}\t{doc_id}\t{grade}" for query_id, found in QRELS.items() for doc_id, grade in found.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def legs(tmp_path_factory, tiny_splade):
    dense = str(write_bert(tmp_path_factory.mktemp("dense") / "model"))
    return {
        "bm25": LegSpec("bm25", "bm25"),
        "dense": LegSpec("dense", "dense", dense, "float32"),
        "other": LegSpec(
            "other", "dense", str(write_bert(tmp_path_factory.mktemp("other") / "model", seed=1)), "float32"
        ),
        "graph": LegSpec("graph", "dense", dense, "float32", "hnsw"),
        "sparse": LegSpec("sparse", "sparse", tiny_splade.identity["name"], "float32"),
    }


@pytest.fixture(scope="session")
def models():
    return Models()


@pytest.fixture(scope="session")
def done(folder, legs, models, tmp_path_factory):
    output = tmp_path_factory.mktemp("done")
    results, said = bench(folder, legs, models, output, *ALL)
    return output, results, said
