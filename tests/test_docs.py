"""README.md and docs/: Python examples run, commands have only options that exist, links lead to something.

The examples of some pages have their own tests, which also check what is printed.
"""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from late_interaction import write_colbert
from results_folders import write_results

from checkpoints import write_nv_embed
from document_files import pdf, write
from fusing import hits
from indexing import Collection, Document
from indexing.errors import RetrieveError
from pipelines import build_collection, cli
from pipelines.build.plan import IndexChoice
from retrieve import DenseEncoder, default_dense_model

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in FILES}
OWN_TESTS = {
    "README.md": "test_examples.py",
    "docs/adapters.md": "pipelines/adapters/conftest.py",
    "docs/chunking.md": "pipelines/search/test_parents.py",
    "docs/migration.md": "parity/test_migration.py",
    "docs/remote.md": "pipelines/service/test_remote_models.py",
    "docs/search.md": "pipelines/search/test_search_docs.py",
    "docs/serving.md": "pipelines/service/test_serving_docs.py",
}
BLOCKS = [
    (page, code) for page, text in PAGES.items() for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
]
FENCE = re.compile(r"^```\w*\n.*?^```", re.MULTILINE | re.DOTALL)
SCRIPTS = [path.stem for path in (ROOT / "benchmarks").glob("run_*.py")]
PARSERS = {name: import_module(f"benchmarks.{name}").parser for name in SCRIPTS} | {"retrieve": cli._parser}


def _commands() -> Iterator[tuple[str, str]]:
    """Yield (page, command line) for every line of a block and every code span that begins with a command of ours."""
    for page, text in PAGES.items():
        lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        spans = re.findall(r"`([^`]+)`", FENCE.sub("", text))
        for line in (" ".join(line.split()) for line in [*lines, *spans]):
            if re.match(r"(retrieve|python benchmarks/run_\w+\.py|benchmarks/run_\w+\.py) \S", line):
                yield page, line.removeprefix("python ").partition(" #")[0]


COMMANDS = sorted(set(_commands()))


def _collections(folder: Path) -> dict[str, Any]:
    build_collection([Document("1", "", "How vaccines work.")], folder / "c", show_progress=False)
    return {"collection": folder / "c"}


def _deploy(folder: Path) -> dict[str, Any]:
    documents = [Document("1", "", "How a neural network learns."), Document("2", "", "How bread rises.")]
    build_collection(documents, folder / "my-collection", show_progress=False)
    build_collection(documents, folder / "new-collection", show_progress=False)
    return {}


def _documents(folder: Path) -> dict[str, Any]:
    write(folder / "handbook/leave.md", "# Leave\n\nEmployees have thirty days of leave.\n")
    write(folder / "handbook/trips.md", "# Trips\n\nTrains are booked by the office.\n")
    write(folder / "handbook/papers/trips.pdf", pdf("trips", "trips"))
    return {}


def _encoders(folder: Path) -> dict[str, Any]:
    return {"queries": ["the price of water"], "nvidia/NV-Embed-v2": write_nv_embed(folder / "nv")}


def _fusion(folder: Path) -> dict[str, Any]:
    return {"bm25_hits": hits({"a": 2.0, "b": 1.0}), "dense_hits": hits({"b": 0.9, "c": 0.5})}


def _indexes(folder: Path) -> dict[str, Any]:
    corpus = [Document("1", "Bread", "Bread rises because yeast makes gas.")]
    encoder = DenseEncoder(default_dense_model())
    given = {"corpus": corpus, "encoder": encoder, "build_collection": build_collection, "IndexChoice": IndexChoice}
    return given | {"https://qdrant.example:6333": "http://127.0.0.1:9"}


def _late_interaction(folder: Path) -> dict[str, Any]:
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "Vaccines train the immune system."}\n')
    return {"lightonai/GTE-ModernColBERT-v1": write_colbert(folder / "colbert")}


def _measures(folder: Path) -> dict[str, Any]:
    run, qrels = {"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 1}}
    (folder / "results").mkdir()
    write_results(folder / "results" / "scifact", {"scifact": ({"bm25": run}, qrels)})
    build_collection(
        [Document("a", "", "Water boils."), Document("b", "", "Bread.")], folder / "c", show_progress=False
    )
    return {"run": run, "qrels": qrels, "queries": {"q": "hot water"}, "collection": Collection.open(folder / "c")}


def _queries(folder: Path) -> dict[str, Any]:
    fields = {"kind": "keyword", "date": "date"}
    corpus = [
        Document("1", "Herd immunity by vaccine protects.", "Vaccines", {"kind": "guide", "date": "2024-05-01"}),
        Document("2", "Measles and vaccine.", metadata={"kind": "note", "date": "2019-05-01"}),
    ]
    build_collection(corpus, folder / "c", bm25_parameters={"positions": True}, fields=fields, show_progress=False)
    return {"collection": folder / "c"}


GIVEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "docs/collections.md": _collections,
    "docs/deploy.md": _deploy,
    "docs/documents.md": _documents,
    "docs/encoders.md": _encoders,
    "docs/evaluators.md": lambda folder: {},
    "docs/fusion.md": _fusion,
    "docs/indexes.md": _indexes,
    "docs/late_interaction.md": _late_interaction,
    "docs/measures.md": _measures,
    "docs/queries.md": _queries,
    "docs/similar_texts.md": lambda folder: {},
}
"""What the examples of a page take as given: variables, and what stands in for the names of models and servers."""
UNREACHABLE = "QdrantServer("
"""The example that contains this needs a server; here it ends where it connects."""


@pytest.mark.parametrize("page", GIVEN)
def test_python_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = GIVEN[page](tmp_path)
    examples = [code for other, code in BLOCKS if other == page]
    assert examples
    for code in examples:
        for name, replacement in names.items():
            code = code if name.isidentifier() else code.replace(name, str(replacement))
        run = compile(code, page, "exec")
        if UNREACHABLE in code:
            with monkeypatch.context() as context, pytest.raises(RetrieveError, match=r"127\.0\.0\.1:9"):
                context.setattr("time.sleep", lambda seconds: None)  # between the tries
                exec(run, names)
        else:
            exec(run, names)


def test_every_page_with_examples_has_a_test() -> None:
    assert {page for page, _ in BLOCKS} == GIVEN.keys() | {page for page in OWN_TESTS if page in dict(BLOCKS)}
    for page, test in OWN_TESTS.items():
        assert Path(page).name in (ROOT / "tests" / test).read_text("utf-8")


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_have_only_options_that_exist(page: str, command: str) -> None:
    program, *arguments = shlex.split(command)
    parser = PARSERS[Path(program).stem]()
    while arguments and not arguments[0].startswith("-") and (commands := _subcommands(parser)):
        name = arguments.pop(0)
        # TASK and COMMAND stand for any of them.
        assert name in commands or name.isupper(), f"{page}: {command}"
        parser = commands.get(name) or next(iter(commands.values()))
    used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--") and argument != "--"}
    assert used <= set(parser._option_string_actions), f"{page}: {command}"


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return next((dict(action.choices) for action in actions), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_a_file_and_a_heading(page: str) -> None:
    text = FENCE.sub("", PAGES[page])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{page}: {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
