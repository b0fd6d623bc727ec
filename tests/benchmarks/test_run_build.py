import pytest

from benchmarks.run_build import main


@pytest.mark.slow
def test_each_build_has_a_row(tmp_path, capsys):
    assert main(["--documents", "300", "--dimension", "8", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in shown[2:]] == ["only read and check", "dense", "bm25", "bm25+dense"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus-300.jsonl"]


def test_a_wrong_number_is_refused(tmp_path, capsys):
    assert main(["--documents", "0", "--folder", str(tmp_path)]) == 1
    assert "documents must be at least 1, not 0" in capsys.readouterr().err
