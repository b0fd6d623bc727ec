"""Fixtures: a small collection for every adapter, and the examples of docs/adapters.md."""

import re
from pathlib import Path

import pytest

from pipelines import SearchPipeline, build_collection
from retrieve import LateInteractionReranker

PAGE = Path(__file__).parents[3] / "docs" / "adapters.md"


@pytest.fixture(scope="session")
def collection(tmp_path_factory, corpus, minilm):
    path = tmp_path_factory.mktemp("adapters") / "collection"
    build_collection(corpus, path, dense=minilm, show_progress=False)
    return path


@pytest.fixture(scope="session")
def pipeline(collection, minilm):
    with SearchPipeline.open(collection, dense=minilm) as pipeline:
        yield pipeline


@pytest.fixture(scope="session")
def reranker(minilm):
    return LateInteractionReranker(minilm)


@pytest.fixture(scope="session")
def reranked(collection, minilm, reranker):
    """The pipeline with its own reranker, which a framework's retriever and reranker together must equal."""
    with SearchPipeline.open(collection, dense=minilm, reranker=reranker, candidates=8) as pipeline:
        yield pipeline


@pytest.fixture
def run_example(capsys):
    """Return a function that runs the example under a heading of docs/adapters.md and returns its printed lines."""

    def run(heading: str, **names: object) -> list[str]:
        section = PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
        code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        assert len(code) == 1
        capsys.readouterr()
        exec(compile(code[0], f"{PAGE.name}: {heading}", "exec"), dict(names))
        return [line for line in capsys.readouterr().out.splitlines() if line]

    return run
