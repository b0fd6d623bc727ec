import pytest

from benchmarks.run_scale import main


@pytest.mark.slow
def test_the_plan_multiplies_what_was_measured(capsys):
    assert main(["--documents", "200", "--dimension", "16"]) == 0
    printed = capsys.readouterr().out
    for leg in ("dense 16, float32", "dense 16, int8", "SPLADE", "BM25", "token vectors"):
        assert printed.count(leg) == 4  # the constant, and three sizes
    assert "| 1,000 M" in printed
