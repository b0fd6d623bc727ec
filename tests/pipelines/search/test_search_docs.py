"""The examples of docs/search.md, run unchanged."""

import json
import re
from pathlib import Path

import pytest

from pipelines import build_collection
from pipelines.search import SearchConfig

PAGE = (Path(__file__).parents[3] / "docs" / "search.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def collection(tmp_path_factory, corpus, minilm):
    path = tmp_path_factory.mktemp("docs") / "collection"
    build_collection(corpus, path, dense=minilm, show_progress=False)
    return path


@pytest.fixture
def run(collection, capsys):
    def run(text: str) -> str:
        (code,) = (code for code in EXAMPLES if text in code)
        exec(
            compile(code.replace("how do vaccines work", "bake bread"), "search.md", "exec"), {"collection": collection}
        )
        return capsys.readouterr().out

    return run


def test_the_first(run):
    lines = run('reranker="late-interaction", candidates=20').splitlines()
    assert len(lines) == 6 and lines[0].startswith("1 bread ") and lines[-1].endswith(" 8 False")


def test_a_prompt_from_query_variants(run):
    blocks = run("variants = [").strip().split("\n\n")
    assert 1 <= len(blocks) <= 4 and all(block.startswith("[") for block in blocks)


def test_an_event_loop(run):
    printed = run("async def serve")
    assert "'bake bread': ['bread'" in printed and printed.count("bread") > 2


def test_what_an_explanation_holds_is_what_the_page_shows(run):
    found = json.loads(run("json.dumps"))
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    written = json.loads(shown)
    assert {name: set(leg) for name, leg in found["legs"].items()} == {
        name: set(leg) for name, leg in written["legs"].items()
    }
    assert found.keys() == written.keys() and found["reranker"].keys() == written["reranker"].keys()
    assert sum(leg["share"] for leg in written["legs"].values()) == pytest.approx(1)
    assert sum(term["weight"] for term in written["legs"]["bm25"]["terms"]) == pytest.approx(4.31)


def test_the_configuration_is_read(tmp_path):
    (content,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "search.yaml").write_text(content)
    config = SearchConfig.load(tmp_path / "search.yaml")
    assert config.reranker is not None and config.reranker.early_exit == 3 and config.fusion["missing"] == "score"


def test_every_example_is_run():
    assert len(EXAMPLES) == 4
