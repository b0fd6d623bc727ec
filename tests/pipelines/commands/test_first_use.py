"""The first commands of a new user: file names, suggested next commands, Ctrl-C, and skipped records."""

import importlib
import json
import os
import shlex
from pathlib import Path

import pytest

from corpus_files import write_lines
from document_files import write
from indexing.collection.manifest import read_manifest
from pipelines.cli import main

RECORDS = [{"_id": "b", "text": "Bread bakes in an oven."}, {"_id": "s", "text": "Steel melts."}]
NO_UTF8 = os.fsdecode(b"caf\xe9")
"""A name as the operating system has it, in another encoding."""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "corpus.jsonl", RECORDS)
    return tmp_path


def test_the_next_command_can_be_copied_where_a_path_has_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "corpus.jsonl", "--to", "my folder", "--no-dense", "--quiet"]) == 0
    following = capsys.readouterr().out.partition("next: ")[2]
    assert shlex.split(following) == ["retrieve", "search", "my folder", "your question"]


def test_a_corpus_whose_name_is_not_utf8_is_indexed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("corpus.jsonl").rename(f"{NO_UTF8}.jsonl")
    assert main(["index", f"{NO_UTF8}.jsonl", "--to", "c", "--no-dense", "--quiet"]) == 0
    assert read_manifest(Path("c")).corpus["description"] == r"caf\udce9.jsonl"
    capsys.readouterr()
    assert main(["search", "c", "steel"]) == 0
    assert "1. s" in capsys.readouterr().out


def test_a_collection_whose_name_is_not_utf8_is_one_line_of_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "corpus.jsonl", "--to", NO_UTF8, "--no-dense", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert "is not UTF-8" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "arguments", "keeps"),
    [
        ("index", ["index", "corpus.jsonl", "--to", "c"], True),
        ("deploy", ["deploy", "c", "--to", "d"], True),
        ("mine", ["mine", "c", "--pairs", "p", "--output", "o"], True),
        ("train", ["train", "dense", "--output", "o"], True),
        ("evaluate", ["evaluate", "c", "--queries", "q", "--qrels", "r", "--output", "o"], True),
        ("evaluate", ["evaluate", "c", "--queries", "q", "--qrels", "r"], False),
        ("search", ["search", "c", "bread"], False),
    ],
)
def test_ctrl_c_says_whether_the_same_command_goes_on(
    name: str, arguments: list[str], keeps: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"pipelines.commands.{name}"), "run", stopped)
    assert main(arguments) == 130
    assert ("run the same command again to resume" in capsys.readouterr().err) == keeps


@pytest.mark.parametrize(("arguments", "where"), [([], "retrieve --help"), (["train"], "retrieve train --help")])
def test_a_missing_command_is_an_error_that_says_where_they_are_listed(
    arguments: list[str], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"{where} lists them" in capsys.readouterr().err


def test_unreadable_files_are_listed_in_a_file_only_with_on_error_skip(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(work / "folder/a.md", "# Bread\n\nIt bakes.\n")
    write(work / "folder/empty.md", "")
    command = ["index", "folder", "--to", "c", "--no-dense", "--quiet"]
    assert main(command) == 0
    assert "skipped.jsonl" not in capsys.readouterr().out and not Path("c.skipped.jsonl").exists()
    assert main([*command, "--overwrite", "--json"]) == 0
    assert "skipped_to" not in json.loads(capsys.readouterr().out)
    assert main([*command, "--overwrite", "--on-error", "skip"]) == 0
    assert "c.skipped.jsonl lists them" in capsys.readouterr().out and Path("c.skipped.jsonl").exists()
    assert main([*command, "--chunk", "pages"]) == 1
    assert "(--chunk markdown --chunk-size 256 --chunk-overlap 32): repeat its options" in capsys.readouterr().err


def test_info_has_the_size_and_what_compact_would_remove(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "corpus.jsonl", "--to", "c", "--no-dense", "--quiet"]) == 0
    assert main(["delete", "c", "--ids", "s"]) == 0
    capsys.readouterr()
    assert main(["info", "c"]) == 0
    said = capsys.readouterr().out
    assert "1 replaced or deleted document still stored: `retrieve compact c` removes them" in said
    assert " MB, of which texts " in said
    assert main(["info", "c", "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)["stats"]
    assert stats["dead"] == 1 and stats["store_bytes"] > 0


def test_results_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "corpus.jsonl", "--to", "c", "--no-dense", "--quiet"]) == 0
    write_lines(Path("queries.jsonl"), [{"_id": "q", "text": "bread"}, {"_id": "gone", "text": "steel"}])
    Path("qrels.tsv").write_text("q\tb\t1\ngone\tmissing\t1\n")
    judged = ["c", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--json"]
    capsys.readouterr()
    assert main(["evaluate", *judged, "--no-timing", "--measures", "RR@10"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"]["bm25"]["measures"]["RR@10"] == 0.5
    # A relevant document that is not in the collection is left out, as it counts as not found when it is scored.
    assert main(["mine", *judged, "--output", "mined"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["queries"] == 1
    Path("qrels.tsv").write_text("q\tmissing\t1\nq\tb\t0\n")
    assert main(["mine", *judged, "--output", "none"]) == 1
    assert "none of the relevant documents is in c, 'missing' for one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "c", "--queries", "queries.jsonl", "--run", "OUTPUT"],
        ["evaluate", "c", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--output", "OUTPUT"],
        ["verify", "c", "--against", "d", "--report", "OUTPUT"],
        ["pydocs", "OUTPUT"],
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # There is no collection: a command that began its work would say so.
    write_lines(Path("queries.jsonl"), [{"_id": "q", "text": "bread"}])
    Path("qrels.tsv").write_text("q\tb\t1\n")
    assert main([argument.replace("OUTPUT", "corpus.jsonl/inside") for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert "corpus.jsonl is a file, so nothing can be written in it" in error and error.count("\n") == 1
