"""``retrieve mine``, on a tiny collection with a tiny encoder."""

import json
import random
from pathlib import Path

import pytest

from checkpoints import write_bert
from corpus_files import write_lines
from pipelines.cli import main
from training_rows import text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("mine"), random.Random(3)
    documents = [{"_id": f"d{at}", "text": f"{text(draw)} number{at}"} for at in range(40)]
    write_lines(folder / "corpus.jsonl", documents)
    for name, some in {"pairs": documents[:8], "others": documents[8:16]}.items():
        write_lines(folder / f"{name}.jsonl", [{"query": one["text"][:9], "positive": one["text"]} for one in some])
    index = ["index", str(folder / "corpus.jsonl"), "--to", str(folder / "c"), "--quiet"]
    assert main([*index, "--dense", str(write_bert(folder / "bert"))]) == 0
    return folder


def test_late_interaction_scores_candidates_and_its_scores_serve_the_next_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["mine", str(folder / "c"), "--pairs", str(folder / "pairs.jsonl"), "--quiet"]
    command += ["--scorer", "late-interaction", "--score-cache", str(tmp_path / "scores")]
    assert main([*command, "--output", str(tmp_path / "one"), "--scores"]) == 0
    said = capsys.readouterr().out
    assert "candidates, of" in said and "score above a positive" in said and "next: retrieve train" in said
    size = (tmp_path / "scores").stat().st_size
    assert size and not (tmp_path / "one" / "scores.sqlite").exists()
    assert main([*command, "--output", str(tmp_path / "two"), "--relative-margin", "0.01"]) == 0
    assert (tmp_path / "scores").stat().st_size == size
    assert "no margin is set" not in capsys.readouterr().out


def test_other_pairs_or_a_changed_collection_are_refused_in_the_same_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["mine", str(folder / "c"), "--output", str(tmp_path / "mined"), "--quiet", "--pairs"]
    assert main([*command, str(folder / "pairs.jsonl")]) == 0
    assert "no margin is set" in capsys.readouterr().out
    assert main([*command, str(folder / "pairs.jsonl")]) == 0
    assert "were done in an earlier run" in capsys.readouterr().out
    assert main([*command, str(folder / "others.jsonl")]) == 1
    assert "mined with other queries or relevant documents" in capsys.readouterr().err
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"_id": "new", "text": "a new document"}) + "\n")
    assert main(["index", str(more), "--to", str(folder / "c"), "--update", "--quiet"]) == 0
    assert main([*command, str(folder / "pairs.jsonl")]) == 1
    assert "mined with another state of the collection" in capsys.readouterr().err
