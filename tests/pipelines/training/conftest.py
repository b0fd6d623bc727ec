import random
from pathlib import Path

import pytest

from checkpoints import write_bert
from corpus_files import write_lines
from retrieve.encoders import CrossEncoder
from training_rows import text


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("recipes") / "bert")


@pytest.fixture
def cross_encoder(tiny_cross_encoder: CrossEncoder) -> CrossEncoder:
    """Return a copy of the shared cross-encoder, whose weights a test may train."""
    return CrossEncoder(tiny_cross_encoder.checkpoint.folder, dtype="float32")


@pytest.fixture(scope="module")
def triples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)
    rows = [
        {"query": text(draw), "positive": text(draw), "negative": text(draw), "query_id": str(at)} for at in range(24)
    ]
    return write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)
