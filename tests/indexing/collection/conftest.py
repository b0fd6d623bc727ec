"""A collection of thirty documents with legs of words, term weights and vectors."""

from pathlib import Path

import pytest
from crash.cheap import plan

from cheap_collections import document, make


@pytest.fixture
def path(tmp_path) -> Path:
    with make(tmp_path / "c") as collection:
        collection.upsert([document(number) for number in range(30)])
    return tmp_path / "c"


@pytest.fixture
def encoders():
    return plan().encoders
