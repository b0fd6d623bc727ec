"""Wrong values of every option of every command: one line of error says which, and nothing is written."""

import argparse
import contextlib
import hashlib
import importlib
import io
import os
import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from checkpoints import write_bert
from indexing.documents import Document
from pipelines import build_collection
from pipelines.cli import _parser, main

NUMBERS = ["x", "", "-1", "0", "nan", "inf", "-inf", "1e400", "9" * 30, "1.5.2", "é", "1,2", "²"]
NAMES = ["", " ", "nosuch", "é😀", "missing/file.x", "folder", "garbage.bin", ",", "=", "[" * 3000, "a" * 5000]
SLOW = ["evaluate", "run_rare_words"]
"""Commands and scripts of which a right value takes long."""
FAST = 3
"""Values of each option that are tried under `make test`; all of them under the marker `slow`."""

BASES: dict[str, list[str]] = {
    "index": ["index", "corpus.jsonl", "--to", "new", "--no-dense"],
    "delete": ["delete", "c"],
    "reindex": ["reindex", "c"],
    "compact": ["compact", "c"],
    "verify": ["verify", "c"],
    "info": ["info", "c"],
    "search": ["search", "c", "bread oven"],
    "tune": ["tune", "c", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"],
    # A right value must not start a server: the directory is missing.
    "serve": ["serve", "missing"],
    "mcp": ["mcp", "missing"],
    "key": ["key", "keys.json"],
    "evaluate": ["evaluate", "c", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--output", "out"],
    "compare": ["compare", "results", "results"],
    "mine": ["mine", "c", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--output", "mined"],
    "pydocs": ["pydocs"],
    # A right value must not build a folder to deploy: the collection is missing.
    "deploy": ["deploy", "missing", "--to", "deployed"],
    "backup": ["backup", "missing", "--to", "copy"],
    "restore": ["restore", "missing", "--to", "copy"],
    **{
        f"train {kind}": ["train", kind, "--model", "missing-model", "--data", "rows.jsonl", "--output", "trained"]
        for kind in ("dense", "sparse", "reranker", "multi-vector")
    },
}
SCRIPTS: dict[str, list[str]] = {
    "join_documents": ["missing", "--output", "out"],
    "run_beir": ["--dataset", "missing", "--output", "out"],
    "run_fusion": ["--datasets", "missing", "--output", "out"],
    "run_nanobeir": ["--repository", "missing", "--output", "out"],
    "run_rare_words": ["--datasets", "missing", "--output", "out"],
    "run_token_index": ["--data", "missing", "--output", "out"],
}
"""Scripts whose job can be made to fail at once, so that a right value computes nothing."""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("wrong") / "work"
    path.mkdir()
    documents = [
        Document("b1", "Bread bakes in a hot oven.", "Bread", {"year": 2010}),
        Document("s1", "Steel melts at great heat.", "Steel", {"year": 2011}),
        Document("v1", "Vaccines train the immune system.", "Vaccines", {"year": 2011}),
    ]
    build_collection(documents, path / "c", fields={"year": "number"}, show_progress=False)
    lines = [f'{{"_id": "{d.doc_id}", "title": "{d.title}", "text": "{d.text}"}}\n' for d in documents]
    (path / "corpus.jsonl").write_text("".join(lines))
    (path / "queries.jsonl").write_text('{"_id": "q1", "text": "bread"}\n{"_id": "q2", "text": "steel"}\n')
    (path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tb1\t1\nq2\ts1\t1\n")
    (path / "rows.jsonl").write_text('{"anchor": "bread", "positive": "Bread bakes."}\n' * 4)
    (path / "garbage.bin").write_bytes(random.Random(1).randbytes(300))
    (path / "folder").mkdir()
    (path / "folder" / "note.txt").write_text("not yours")
    write_bert(path / "model")
    return path


@pytest.fixture
def work(original, tmp_path, monkeypatch):
    path = Path(shutil.copytree(original, tmp_path / "work"))
    monkeypatch.chdir(path)
    return path


def parsers(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each parser that has no further commands, with its name."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield name, parser
    for action in nested:
        for word, inner in action.choices.items():
            yield from parsers(inner, f"{name} {word}".strip())


def wrong_values(action: argparse.Action) -> Sequence[str]:
    """Return values that are wrong for most options of this type."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return []
    if action.choices is not None:
        return ["", "nosuch", "é😀"]
    numeric = action.type in (int, float) or getattr(action.type, "__name__", "") in ("positive", "_whole_or_all")
    return NUMBERS if numeric else [*NAMES, *NUMBERS[2:6]]


def digest(folder: Path) -> str:
    """Return a digest of all names and contents."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        # The settings of a run that has not begun, which those of the next run replace, and the folders above them.
        below = [file] if file.is_file() else [inner for inner in file.rglob("*") if inner.is_file()]
        if below and all(inner.name == "recipe.json" for inner in below):
            continue
        found.update(str(file.relative_to(folder)).encode())
        if file.is_file():
            found.update(file.read_bytes())
    return found.hexdigest()


def run(call: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit status and what it wrote to standard error."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = call(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, errors.getvalue()


def problem(status: int, written: str, option: str, value: str, base: Sequence[str]) -> str | None:
    """Return what is wrong with how a wrong value was answered; None if all is well."""
    if status not in (0, 1, 2):
        return f"status {status}"
    if "Traceback" in written:
        return "traceback"
    if status == 0:
        return None
    errors = [line for line in written.splitlines() if re.search(r"\berror: ", line)]
    if len(errors) != 1 or not written.rstrip().endswith(errors[0].rstrip()):
        return f"not one line of error: {written[-600:]!r}"
    words = [option.lstrip("-"), option.lstrip("-").replace("-", "_"), *(part for part in [value.strip()] if part)]
    words += [part for part in base if not part.startswith("-")]
    if value.strip() and not any(word[:60] in errors[0] for word in words):
        return f"neither option nor value is named: {errors[0][:600]}"
    if len(errors[0]) > 1000:
        return f"an error of {len(errors[0])} characters"
    return None


def calls(
    actions: Sequence[argparse.Action], base: list[str], most: int | None
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield options with wrong values and the command lines that have them; at most so many of each option."""
    for action in actions:
        option = action.option_strings[-1] if action.option_strings else action.dest
        values = [] if isinstance(action, argparse._HelpAction) else list(wrong_values(action))
        if most is not None:
            values = random.Random(f"{base[0]} {option}").sample(values, min(most, len(values)))
        for value in values:
            if option.startswith("--"):
                yield option, value, [*base, f"{option}={value}"]
            elif option.startswith("-"):
                yield option, value, [*base, option, value]
            elif base[0] in ("index", "key"):
                yield option, value, [base[0], *base[2:], "--", value]


def tried(
    call: Callable[[Sequence[str]], int],
    actions: Sequence[argparse.Action],
    base: list[str],
    work: Path,
    original: Path,
    most: int | None,
) -> list[str]:
    """Run a command with each wrong value of each option; return the problems."""
    problems, before = [], digest(work)
    for option, value, arguments in calls(actions, base, most):
        try:
            status, written = run(call, arguments)
            found = problem(status, written, option, value, base)
        except Exception as error:
            status, found = 1, f"{type(error).__name__}: {error}"
        changed = digest(work) != before
        if changed and status:
            found = f"something was written, and: {found}"
        if changed:
            shutil.rmtree(work)
            shutil.copytree(original, work)
            os.chdir(work)
        if found is not None:
            problems.append(f"{' '.join(base)} {option}={value[:40]!r}: {found}")
    return problems


def sizes(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with few values, and under the marker `slow` with all."""
    slow = pytest.param(None, marks=pytest.mark.slow, id="all")
    return pytest.mark.parametrize("most", [pytest.param(FAST, id="few"), slow])(test)


def marked(names: Iterable[str]) -> list[Any]:
    """Return names as parameters of a test, those of `SLOW` under the marker `slow`."""
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]


COMMANDS: dict[str, Any] = dict(parsers(_parser()))


def test_every_command_is_tried():
    assert BASES.keys() == COMMANDS.keys()


@sizes
@pytest.mark.parametrize("name", marked(BASES))
def test_commands(name, most, work, original):
    problems = tried(main, COMMANDS[name]._actions, BASES[name], work, original, most)
    assert not problems, "\n".join(problems)


@sizes
@pytest.mark.parametrize("name", marked(SCRIPTS))
def test_scripts(name, most, work, original):
    script = importlib.import_module(f"benchmarks.{name}")
    problems = tried(script.main, script.parser()._actions, SCRIPTS[name], work, original, most)
    assert not problems, "\n".join(problems)
