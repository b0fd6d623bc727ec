"""The memory benchmark on tiny models, run as a script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import BertForMaskedLM

from checkpoints import write_bert

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_memory.py"
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="anonymous memory is read from /proc")


def run_memory(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_dense_counts_what_is_taken_beside_the_model(tmp_path):
    done = run_memory("dense", "--model", write_bert(tmp_path / "model"), "--texts", 3000, "--output", tmp_path)

    assert done.returncode == 0, done.stderr
    [row] = json.loads((tmp_path / "memory.json").read_text())
    assert 1 < row["growth_mb"] < 300 and row["model_mb"] > 50 and row["seconds"] > 0
    assert "3000 short texts" in row["what"] and row["what"] in done.stdout


@pytest.mark.slow
def test_sparse_measures_each_size_of_batch(tmp_path):
    model = write_bert(tmp_path / "model", BertForMaskedLM)

    done = run_memory("sparse", "--model", model, "--token-budgets", 0, 900, "--output", tmp_path)

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "memory.json").read_text())
    assert ["default" in rows[0]["what"], "900" in rows[1]["what"]] == [True, True]


def test_errors_are_explained(tmp_path):
    done = run_memory("dense", "--model", tmp_path / "nowhere")

    assert done.returncode == 1
    assert "no model folder" in done.stderr and "Traceback" not in done.stderr
