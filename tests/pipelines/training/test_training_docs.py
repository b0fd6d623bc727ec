"""The commands of docs/training.md, on a tiny collection with tiny models."""

import random
import re
import shlex
from pathlib import Path

import pytest
import yaml
from transformers import BertForSequenceClassification

from checkpoints import WORDS, write_bert
from corpus_files import write_lines
from pipelines.cli import main
from pipelines.training.arguments import DenseTrainingArguments
from pipelines.training.recipes.settings import TrainSettings
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

DOCS = Path(__file__).parents[3] / "docs" / "training.md"
SMALL = ["--max-steps", "2", "--batch-size", "4", "--checkpoints", "1", "--no-bf16"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(5)
    documents = [{"_id": str(at), "text": " ".join(draw.choices(WORDS, k=8)) + f" {at}"} for at in range(420)]
    pairs = [{"query": " ".join(one["text"].split()[:3]), "positive": one["text"]} for one in documents[:40]]
    for name, rows in {"corpus": documents, "pairs": pairs, "held-out": pairs[:6]}.items():
        write_lines(Path(f"{name}.jsonl"), rows)
    encoder = str(write_bert(tmp_path / "bert"))
    scorer = str(write_bert(tmp_path / "scorer", BertForSequenceClassification, num_labels=1))
    for folder, split in (("data/fiqa", "test"), ("judged", "dev")):  # of the checks on other collections
        Path(folder, "qrels").mkdir(parents=True)
        for name, rows in {"corpus": documents, "queries": [{"_id": "q", "text": documents[0]["text"]}]}.items():
            write_lines(Path(folder, f"{name}.jsonl"), rows)
        Path(folder, "qrels", f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq\t0\t1\n")
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 9
    for line in commands:
        words = shlex.split(line.replace("cross-encoder/ms-marco-MiniLM-L6-v2", scorer).replace("384,128", "32,8"))
        assert words.pop(0) == "retrieve"
        words += {"index": ["--dense", encoder], "train": SMALL}.get(words[0], [])
        words += ["--model", encoder] if words[0] == "train" and "--model" not in words else []
        words += ["--held-out", "4"] if "--collection" in words else []
        assert main(words) == 0, line
    assert CrossEncoder("my-reranker/final").labels == CrossEncoder("my-other-reranker/final").labels == 1
    assert DenseEncoder("my-distilled-encoder/final").dimension == DenseEncoder("my-encoder/final").dimension == 32
    assert SparseEncoder("my-distilled-splade/final").dimension == SparseEncoder("my-splade/final").dimension
    assert "hofstaetter" in Path("my-distilled-splade/final/README.md").read_text("utf-8")
    assert "kusupati" in Path("my-encoder/final/README.md").read_text("utf-8")


def test_the_file_of_settings_can_be_used(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    (tmp_path / "train.yaml").write_text(block)
    settings = TrainSettings.read(tmp_path / "train.yaml", {})
    assert settings.lr == 3e-5 and settings.loss_options["scale"] == 30
    assert set(yaml.safe_load(block)["arguments"]) <= set(DenseTrainingArguments.__dataclass_fields__)
