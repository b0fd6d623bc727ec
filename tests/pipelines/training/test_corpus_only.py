"""``retrieve train dense --corpus``: documents alone, with a check on held-out ones."""

import json
import random
from pathlib import Path

import pytest

from checkpoints import WORDS
from corpus_files import write_lines
from indexing import Document
from pipelines.cli import main
from pipelines.training.recipes.corpus_only import CorpusReport, Pair, Probe, corpus_pairs
from training_rows import SMALL


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(3)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS, k=12)).capitalize() + ". "

    rows = [
        {"_id": str(at), "title": " ".join(draw.choices(WORDS, k=4)), "text": sentence() + sentence() + sentence()}
        for at in range(220)
    ]
    return write_lines(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


@pytest.mark.parametrize("objective", ["pairs", "tsdae"])
def test_a_corpus_alone_trains_an_encoder_and_is_judged_on_held_out_documents(
    bert: Path, corpus: Path, objective: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["train", "dense", "--model", str(bert), "--corpus", str(corpus), "--output", str(output), *SMALL]
    assert main([*command, "--objective", objective]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    report = json.loads((output / "corpus_only.json").read_text("utf-8"))
    assert report["rows"] == 198 and [probe["name"] for probe in report["probes"]] == ["titles", "sentences"]
    assert report["verdict"] in said and f"{objective} of 198 rows" in said
    assert ("next: retrieve index" in said) == report["is_gain"]
    assert (output / "final" / "model.safetensors").is_file()


def test_too_few_documents_are_refused(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(tmp_path / "few.jsonl", [{"_id": "1", "title": "a", "text": "water " * 20}])
    command = ["train", "dense", "--model", str(bert), "--output", str(tmp_path / "out")]
    assert main([*command, "--corpus", str(path)]) == 1
    assert "1 document can be learned from, too few to hold out 20" in capsys.readouterr().err
    assert main([*command, "--objective", "tsdae", "--data", str(path)]) == 1
    assert "--objective goes with --corpus" in capsys.readouterr().err


def test_titles_and_headings_are_paired_with_the_text_below_them() -> None:
    text = "Thirty days of leave are granted to employees each year."
    documents = [
        Document("1", f"Leave. {text}", "Leave"),
        Document("2", f"{text} Trains.", "Handbook", {"heading": "Trips"}),
        Document("3", f"{text} Trains.", "Again"),
        Document("4", "short", "Title"),
    ]
    assert corpus_pairs(documents) == [Pair("Leave", text), Pair("Handbook Trips", f"{text} Trains.")]


@pytest.mark.parametrize(
    ("gains", "is_gain", "verdict"),
    [
        ([(0.1, 0.05, 0.2), (0.0, -0.1, 0.1)], True, "a gain"),
        ([(0.1, 0.05, 0.2), (-0.1, -0.2, -0.05)], False, "searches of one kind became worse"),
        ([(0.1, -0.05, 0.2), (0.0, -0.1, 0.1)], False, "no gain beyond chance"),
    ],
)
def test_the_verdict_is_a_gain_only_if_no_kind_of_search_gets_worse(gains, is_gain, verdict) -> None:
    probes = [Probe("titles", 50, 0.5, 0.6, gain) for gain in gains]
    report = CorpusReport(None, "pairs", 10, probes)  # type: ignore[arg-type]
    assert report.is_gain == is_gain and verdict in report.verdict
