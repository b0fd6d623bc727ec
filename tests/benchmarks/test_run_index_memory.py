import json
import sys

import pytest

from benchmarks.run_index_memory import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_memory_is_reported_for_each_size_with_that_of_the_indexes(tmp_path, capsys):
    assert main(["--documents", "500", "1500", "--legs", "flat", "--dimension", "64", "--output", str(tmp_path)]) == 0

    rows = json.loads((tmp_path / "memory.json").read_text())
    assert [row["documents"] for row in rows] == [500, 1500]
    for row in rows:
        assert row["held_mb"] >= row["documents"] * 64 * 4 / 2**20
        assert row["peak_mb"] > row["above_mb"] > 0
        assert row["instant_mb"] >= row["above_mb"] - row["held_mb"]
    assert "MB more than the first" in capsys.readouterr().out


def test_a_leg_of_token_vectors_is_measured(tmp_path, capsys):
    assert main(["--documents", "20", "60", "--legs", "tokens", "--dimension", "8"]) == 0
    assert "(at most 600)" in capsys.readouterr().out


def test_a_leg_that_cannot_be_measured_is_named_with_those_that_can(capsys):
    assert main(["--legs", "flat,edg"]) == 1

    assert "edg cannot be measured, only bm25, flat, hnsw, edge, tokens can" in capsys.readouterr().err


def test_what_a_failing_process_says_is_seen(tmp_path, capfd):
    assert main(["--documents", "10", "--folder", str(tmp_path / "missing")]) == 1

    said = capfd.readouterr().err
    assert "FileNotFoundError" in said
    assert "indexing 10 documents failed" in said
