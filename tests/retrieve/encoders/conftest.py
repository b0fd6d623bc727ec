"""Tiny checkpoints with random weights, written by transformers and by hand in sentence-transformers' layouts."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
)

# fmt: off
WORDS = ["the", "a", "of", "to", "and", "is", "in", "it", "cell", "light", "energy", "water", "wave", "vaccine",
         "stock", "price", "market", "fire", "heat"]
# fmt: on
MAX_LENGTH = 24


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_bert(folder: Path, architecture: type = BertModel, *, seed: int = 0, **settings: Any) -> Path:
    """A BERT of two layers whose WordPiece vocabulary spells any ASCII word."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters[1:], *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=MAX_LENGTH)
    torch.manual_seed(seed)
    # A wide spread of weights, so that a wrong mask or a lost token shows in every dimension.
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        initializer_range=0.3,
        **settings,
    )
    architecture(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


Maker = Callable[..., Path]


@pytest.fixture
def make_dense(tmp_path: Path) -> Maker:
    """Write a dense checkpoint in the layout of sentence-transformers 2: what nearly every model on the Hub has."""

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
    made = [" ".join(WORDS[(at * 7 + word) % len(WORDS)] for word in range(at)) for at in range(0, 41, 2)]
    return [*made, "energy", "the price of water", "energy", "naïve 日本 😀", "   "]
