"""NanoBEIR's samples, from a copy of the repository in the Hub's layout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nanobeir_copies import write_nanobeir

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_nanobeir.py"
SAMPLES = {
    "NanoSciFact": {"q1": ["eig", "svd"], "q2": ["udp"]},
    "NanoArguAna": {"q1": ["svd"], "udp": ["tcp"]},
}
TEXTS = {"q1": "eigenvalues of a matrix", "q2": "lost packets", "udp": "datagrams"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, corpus):
    sets = {
        sample: {
            "corpus": {"_id": [d.doc_id for d in corpus], "text": [d.contents for d in corpus]},
            "queries": {"_id": list(qrels), "text": [TEXTS[query_id] for query_id in qrels]},
            "qrels": {
                "query-id": [query_id for query_id, found in qrels.items() for _ in found],
                "corpus-id": [doc_id for found in qrels.values() for doc_id in found],
            },
            "bm25": {"query-id": list(qrels), "corpus-ids": [["eig", "udp"] for _ in qrels]},
        }
        for sample, qrels in SAMPLES.items()
    }
    return write_nanobeir(tmp_path_factory.mktemp("hub") / "sentence-transformers" / "NanoBEIR-en", sets)


def run_nanobeir(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_dense_sparse_words_and_rerankers_are_scored_on_each_sample(
    repository, tmp_path, tiny_splade, tiny_cross_encoder
):
    done = run_nanobeir(
        *("--data-dir", repository.parents[1], "--datasets", "scifact,arguana", "--output", tmp_path / "out"),
        *("--sparse", tiny_splade.identity["name"], "--reranker", tiny_cross_encoder.identity["name"]),
    )

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["datasets"]) == ["NanoSciFact", "NanoArguAna"]
    assert [entry["self_hits_dropped"] for entry in results["datasets"].values()] == [False, True]
    for entry in results["datasets"].values():
        assert list(entry["systems"]) == ["bm25", "dense", "sparse", "hybrid", "hybrid+rerank"]
    for name, row in results["mean"].items():
        values = [entry["systems"][name]["measures"]["nDCG@10"] for entry in results["datasets"].values()]
        assert row["measures"]["nDCG@10"] == pytest.approx(sum(values) / 2)
    assert "udp udp" not in (tmp_path / "out" / "runs" / "NanoArguAna" / "bm25.trec").read_text().replace(" Q0", "")


def test_an_unknown_dataset_is_an_error_that_lists_the_known_ones(tmp_path):
    done = run_nanobeir("--datasets", "scifact,trec-covid", "--output", tmp_path)

    assert done.returncode == 1
    assert "NanoBEIR has no set 'trec-covid'; choose one of climatefever" in done.stderr
