"""docs/migration.md: the code of sentence-transformers and ours, section by section, print the same."""

import ast
import re
from pathlib import Path

import pytest
from transformers import BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text("utf-8")
SECTIONS = {
    title: re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    if title not in ("Smaller differences", "Pyserini, ranx and Qdrant")  # tables without code
}
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("migration")
    # Random numbers of dropout differ: without it, two runs can be compared.
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return {
        "all-MiniLM-L6-v2": write_bert(folder / "dense", **still),
        "my-splade": write_bert(folder / "splade", BertForMaskedLM),
        "my-reranker": write_bert(folder / "reranker", BertForSequenceClassification, num_labels=1),
    }


@pytest.mark.parametrize("title", SECTIONS)
def test_both_sides_print_the_same(title, checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = []
    for code in SECTIONS[title]:
        for name, path in checkpoints.items():
            code = code.replace(f'"{name}"', f'r"{path}"')
        exec(compile(code, title, "exec"), {})
        printed.append([line for line in capsys.readouterr().out.splitlines() if not _is_log(line)])
    theirs, ours = ("\n".join(lines) for lines in printed)
    assert theirs and _shape(theirs) == _shape(ours)
    numbers, wanted = ([float(number) for number in NUMBER.findall(text)] for text in (ours, theirs))
    assert numbers == pytest.approx(wanted, rel=2e-3, abs=2e-4)


def test_each_section_has_two_sides():
    assert {title: len(blocks) for title, blocks in SECTIONS.items()} == dict.fromkeys(SECTIONS, 2)
    assert len(SECTIONS) == 7
    for theirs, ours in SECTIONS.values():
        assert "sentence_transformers" in theirs and "sentence_transformers" not in ours


def _shape(text: str) -> list[str]:
    """Return text without its numbers and the spaces that align them."""
    return NUMBER.sub("#", text).replace("]", " ]").split()


def _is_log(line: str) -> bool:
    """Return whether a line is a log entry of transformers' trainer, a dictionary with times."""
    return line.startswith("{") and "train_runtime" in str(ast.literal_eval(line))
