"""The examples of README.md and of docs/indexes.md, run unchanged."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = (
    ("Vaccines train the immune system to recognise a virus.", 2021),
    ("Vaccines work by giving cells instructions for a protein.", 2022),
    ("Bread rises because yeast makes gas.", 2023),
    ("How vaccines work, as people understood it before.", 1999),
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(page: str, text: str) -> str:
        examples = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        (code,) = (code for code in examples if text in code)
        exec(compile(code, page, "exec"), {})
        return capsys.readouterr().out

    return run


def test_readme(run):
    rows = ({"_id": str(i), "title": "", "text": text, "year": year} for i, (text, year) in enumerate(TEXTS, 1))
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = run("README.md", "build_collection").splitlines()
    assert {line.split()[1] for line in lines[:-1:2]} == {"1", "2", "3"}, "the filter leaves out the document of 1999"
    assert "'reranker': (1" in lines[1] and "'total'" in lines[-1]


def test_an_index_alone(run):
    assert run("docs/indexes.md", "FaissIndex.create").startswith("['a', 'c']")


def test_vectors_and_weights_in_one_qdrant_index(run):
    assert set(eval(run("docs/indexes.md", "BothRows("))) == {"b", "c"}
