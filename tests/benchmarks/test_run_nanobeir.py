"""NanoBEIR's samples, from a copy of the repository in the Hub's layout."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_nanobeir.py"
SAMPLES = {
    "NanoSciFact": {"q1": ["eig", "svd"], "q2": ["udp"]},
    "NanoArguAna": {"q1": ["svd"], "udp": ["tcp"]},
}
TEXTS = {"q1": "eigenvalues of a matrix", "q2": "lost packets", "udp": "datagrams"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("hub") / "sentence-transformers" / "NanoBEIR-en"
    for sample, qrels in SAMPLES.items():
        tables = {
            "corpus": [{"_id": d.doc_id, "text": d.contents} for d in corpus],
            "queries": [{"_id": query_id, "text": TEXTS[query_id]} for query_id in qrels],
            "qrels": [{"query-id": query_id, "corpus-id": d} for query_id, found in qrels.items() for d in found],
            "bm25": [{"query-id": query_id, "corpus-ids": ["eig", "udp"]} for query_id in qrels],
        }
        for config, rows in tables.items():
            (folder / config).mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), folder / config / f"{sample}-00000-of-00001.parquet")
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {sample}\n    path: {config}/{sample}-*\n" for sample in SAMPLES)
        for config in ("bm25", "corpus", "qrels", "queries")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


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


def test_a_sample_that_there_is_not_is_refused_with_those_that_are(tmp_path):
    done = run_nanobeir("--datasets", "scifact,trec-covid", "--output", tmp_path)

    assert done.returncode == 1
    assert "NanoBEIR has no set 'trec-covid': there are climatefever" in done.stderr
