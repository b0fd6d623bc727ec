"""A file of a small corpus."""

from pathlib import Path

import pytest

from corpus_files import CORPUS, write_lines


@pytest.fixture
def corpus_file(tmp_path) -> Path:
    return write_lines(tmp_path / "corpus.jsonl", CORPUS)
