"""Fixtures of tiny checkpoints in the layouts of transformers and sentence-transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BertForMaskedLM, BertForSequenceClassification

from checkpoints import MAX_LENGTH, WORDS, write_bert, write_json

Maker = Callable[..., Path]


@pytest.fixture
def make_dense(tmp_path: Path) -> Maker:
    """Write a dense checkpoint in the layout of sentence-transformers 2, that of nearly every model on the Hub."""

    def make(pooling: dict[str, Any] | None = None, *, normalize: bool = True, **settings: Any) -> Path:
        folder = write_bert(tmp_path / "dense")
        modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalize
        write_json(
            folder / "modules.json",
            [
                {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
                for at, (path, name) in enumerate(modules)
            ],
        )
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_LENGTH, "do_lower_case": False})
        write_json(
            folder / "1_Pooling" / "config.json",
            pooling or {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
        )
        if settings:
            write_json(folder / "config_sentence_transformers.json", settings)
        return folder

    return make


@pytest.fixture
def dense(make_dense: Maker) -> Path:
    return make_dense()


@pytest.fixture
def splade(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "splade", BertForMaskedLM)


@pytest.fixture
def cross(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "cross", BertForSequenceClassification, num_labels=1)


@pytest.fixture
def three_labels(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "three", BertForSequenceClassification, num_labels=3)


@pytest.fixture
def texts() -> list[str]:
    """Texts of 0 to 40 words, two of them equal."""
    texts = [" ".join(WORDS[(at * 7 + word) % len(WORDS)] for word in range(at)) for at in range(0, 41, 2)]
    return [*texts, "energy", "the price of water", "energy", "naïve 日本 😀", "   "]
