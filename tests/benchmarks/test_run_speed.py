"""The speed benchmark on tiny models and texts, run as a script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from late_interaction import write_colbert
from transformers import BertForMaskedLM, BertForSequenceClassification

from benchmarks.speed.multi_vector import searching
from checkpoints import WORDS, write_bert
from indexing.documents import Document
from pipelines.build.job import build_collection

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_speed.py"
KEYS = {"task", "peer", "setting", "ratio", "agreement", "ours_s", "theirs_s", "ours_peak_mb", "theirs_peak_mb"}


def run_speed(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


@pytest.fixture
def collection(tmp_path) -> Path:
    folder = tmp_path / "words"
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(WORDS[(at * 7 + word) % len(WORDS)] for word in range(3 + at % 5)) for at in range(30)]
    rows = [json.dumps({"_id": f"d{at}", "text": text}) for at, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(rows), "utf-8")
    (folder / "queries.jsonl").write_text("\n".join(rows[:4]), "utf-8")
    judged = "".join(f"d{at}\td{at}\t1\n" for at in range(4))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, "utf-8")
    return folder


@pytest.mark.slow
def test_encode_compares_three_ways_and_keeps_rows_of_other_tasks(collection, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "speed.json").write_text(json.dumps([{"task": "encode", "ratio": -1}, {"task": "other"}]))
    model = write_bert(tmp_path / "model")

    done = run_speed(
        "encode", "--data", collection, "--model", model, "--texts", 20, "--repeats", 2, "--quick", "--output", output
    )

    assert done.returncode == 0, done.stderr
    other, *rows = json.loads((output / "speed.json").read_text())
    assert other == {"task": "other"}
    assert [row["setting"] for row in rows] == ["default", "best", "float32"]
    for row in rows:
        assert set(row) >= KEYS and row["task"] == "encode" and row["peer"] == "sentence-transformers"
        assert row["ratio"] == pytest.approx(row["theirs_s"] / row["ours_s"])
        assert min(row["ours_peak_mb"], row["theirs_peak_mb"]) > 50
        assert row["agreement"] > (0.99999 if row["setting"] == "float32" else 0.99)
        assert f"{row['ratio']:.2f}" in done.stdout and f"{row['agreement']:.6f}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("task", ["encode-sparse", "rerank"])
def test_the_other_encoders(collection, tmp_path, task):
    architecture = BertForMaskedLM if task == "encode-sparse" else BertForSequenceClassification
    model = write_bert(tmp_path / "model", architecture, **({"num_labels": 1} if task == "rerank" else {}))
    sizes = ["--texts", 20] if task == "encode-sparse" else ["--queries", 4, "--candidates", 5]

    done = run_speed(task, "--data", collection, "--model", model, *sizes, "--quick", "--output", tmp_path)

    assert done.returncode == 0, done.stderr
    exact = json.loads((tmp_path / "speed.json").read_text())[2]
    assert exact["setting"] == "float32"
    assert exact["agreement"] == pytest.approx(1.0 if task == "encode-sparse" else 0.0, abs=1e-5)


@pytest.mark.slow
def test_late_interaction_encodes_scores_and_searches(collection, tmp_path):
    model = write_colbert(tmp_path / "model", document_length=20)
    sizes = ["--texts", 20, "--queries", 5, "--candidates", 6, "--sizes", 300]

    done = run_speed(
        "multi-vector", "--data", collection, "--model", model, *sizes, "--repeats", 1, "--output", tmp_path
    )

    assert done.returncode == 0, done.stderr
    rows = {(row["peer"], row["setting"]): row for row in json.loads((tmp_path / "speed.json").read_text())}
    theirs = [rows["sentence-transformers", setting] for setting in ("default", "best", "float32", "MaxSim of 6")]
    assert theirs[2]["agreement"] > 0.99999 and theirs[3]["agreement"] < 1e-4
    assert rows["brute force", "search 300"]["agreement"] > 0.9


def test_searches_of_token_vectors_are_compared_with_brute_force():
    rows = searching([300], 6)
    peers = [row["peer"] for row in rows]
    assert peers[0] == "brute force" and set(peers[1:]) <= {"Qdrant Edge", "fast-plaid"}
    for row in rows:
        assert set(row) >= KEYS and row["setting"] == "search 300"
        assert row["agreement"] > 0.9 and row["ratio"] == pytest.approx(row["theirs_s"] / row["ours_s"])
        if row["peer"] == "Qdrant Edge":
            assert "theirs: recall@10 1.0000" in row["detail"], "Edge compares all of so few documents"


@pytest.mark.slow
def test_measures_equal_their_peers_and_conversion_is_a_row_of_its_own(tmp_path):
    done = run_speed("metrics", "--queries", 30, "--hits", 40, "--repeats", 1, "--output", tmp_path)

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "speed.json").read_text())
    assert [row["setting"] for row in rows if row["peer"] == "pytrec_eval"] == ["scoring", "plain run"]
    for row in rows:
        assert set(row) >= KEYS and row["task"] == "metrics"
        assert row["agreement"] < 1e-9
        assert row["ratio"] == pytest.approx(row["theirs_s"] / row["ours_s"])


@pytest.mark.slow
def test_index_and_search_measure_every_index_and_draw_how_they_grow(tmp_path):
    pytest.importorskip("bm25s", reason="the extra bench is not installed")
    for task in ("index", "search"):
        done = run_speed(task, "--sizes", "150,300", "--texts", 300, "--queries", 5, "--output", tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("build s" in done.stdout) == (task == "index")
        assert "grows as n^" in done.stdout

    rows = json.loads((tmp_path / "speed.json").read_text())
    dense = [row for row in rows if row["peer"].startswith("FAISS Flat")]
    names = ["FAISS Flat", "FAISS HNSW", "Qdrant Edge", "qdrant-client local"]
    assert [row["setting"] for row in dense] == [f"{n} x 384, {name}" for n in (150, 300) for name in names] * 2
    assert min(row["agreement"] for row in dense) > 0.9
    filtered = [row for row in rows if "filter keeps 1%" in row["setting"]]
    assert len(filtered) == 5 and {row["agreement"] for row in filtered} == {1.0}
    assert [row["task"] for row in rows if row["peer"] == "bm25s"] == ["index", "search"]
    assert all(set(row) >= KEYS for row in rows)
    for plot in ("growth.png", "growth-index.png"):
        assert (tmp_path / plot).stat().st_size > 10_000


@pytest.mark.slow
def test_impact_search_finds_what_pyserini_finds():
    pytest.importorskip("openai", reason="pyserini's own searcher needs all that pyserini requires")
    script = (
        "import json; from benchmarks.speed.pyserini_search import searching_beside_pyserini as beside; "
        "print(json.dumps(beside([f't{at}' for at in range(600)], 200, queries=5, repeats=1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=250, check=False, cwd=SCRIPT.parents[1]
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert [row["agreement"] for row in rows] == [1.0] * 4
    assert ["one query a call" in row["detail"] for row in rows] == [True, True, False, False]
    assert ["scores read" in row["detail"] for row in rows] == [False, True] * 2


def test_wrong_sizes_are_named():
    done = run_speed("search", "--sizes", "10k")
    assert done.returncode == 1
    assert "not '10k'" in done.stderr and "Traceback" not in done.stderr


def test_too_few_texts_are_named(collection):
    done = run_speed("encode", "--data", collection, "--texts", 1000)

    assert done.returncode == 1
    assert "fewer than the 1000 asked for" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_pipeline_and_budgets(collection, tmp_path):
    done = run_speed("pipeline", "--documents", 300, "--queries", 30, "--candidates", 10, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_speed(
        "budget", "--data", collection, "--quick", "--candidates", 20, "--max-ms", 300, "--output", tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = {row["setting"]: row for row in json.loads((tmp_path / "speed.json").read_text())}
    for setting in ("overhead", "batch", "asearch", "max_ms=200"):
        assert rows[setting]["agreement"] == 1, rows[setting]
    assert rows["batch, bfloat16"]["agreement"] >= 0.99
    assert rows["max_pairs=20"]["ratio"] == rows["max_pairs=20"]["agreement"] == 1
    assert rows["max_pairs=1"]["ratio"] == 20
    assert rows["max_pairs=10"]["agreement"] <= 1 <= rows["early_exit=0.5"]["ratio"]
    details = {row["setting"]: row["detail"] for row in json.loads((tmp_path / "speed.json").read_text())}
    assert all("every ranking full" in details[f"max_ms={limit}"] for limit in (75, 150, 300))


@pytest.mark.slow
def test_serving_answers_or_refuses_every_request_and_leaves_nothing_behind(tmp_path):
    texts = [" ".join(WORDS[(at * 7 + word) % len(WORDS)] for word in range(4 + at % 5)) for at in range(60)]
    documents = [Document(f"d{at}", text) for at, text in enumerate(texts)]
    build_collection(documents, tmp_path / "notes", show_progress=False)
    model = write_bert(tmp_path / "model")

    done = run_speed(
        "serve", "--collection", tmp_path / "notes", "--model", model, "--seconds", 3, "--output", tmp_path
    )

    assert done.returncode == 0, done.stderr
    rows = {row["setting"]: row for row in json.loads((tmp_path / "speed.json").read_text())}
    assert set(rows) == {"16 clients", "16 clients, two processes", "10x overload", "500 cancelled", "32 clients"}
    assert rows["10x overload"]["agreement"] == rows["500 cancelled"]["agreement"] == 1, rows
    assert rows["32 clients"]["agreement"] > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("task", ["paraphrases", "communities", "binary"])
def test_similar_vectors(tmp_path, task):
    done = run_speed(task, "--quick", "--output", tmp_path)

    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "speed.json").read_text())
    assert row["task"] == task and row["agreement"] > 0.5


def test_our_side_of_binary_search(tmp_path):
    from benchmarks.speed.similar import ours, write_vectors

    run, judge = ours("binary", str(write_vectors(tmp_path / "vectors.npy", 400, None)))
    found = judge(run())
    assert found["recall"] > 0.9 and found["bytes"] == 432
