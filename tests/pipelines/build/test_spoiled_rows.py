"""Documents whose rows a model spoils: named and skipped, or an error before anything of them is stored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import write_bert
from corpus_files import write_lines
from indexing.collection.reader import Collection
from indexing.corpora.chunked import ChunkedCorpus
from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import read_corpus
from indexing.errors import ModelError
from pipelines.build.job import build_collection, update_collection
from retrieve.encoders import DenseEncoder


class Spoiling(DenseEncoder):
    """An encoder whose vectors of some texts are NaN, as those of damaged embeddings are."""

    def encode_document(self, texts: Any, **options: Any) -> Any:
        """Return the vectors."""
        vectors = super().encode_document(texts, **options).copy()
        vectors[["rotten" in text for text in texts]] = np.nan
        return vectors


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Spoiling:
    return Spoiling(write_bert(tmp_path_factory.mktemp("bert")), dtype="float32")


def lines(path: Path, rotten: set[int], count: int = 6) -> Path:
    texts = [f"{'rotten' if at in rotten else 'fresh'} apple number{at}" for at in range(count)]
    return write_lines(path, [{"_id": f"d{at}", "text": text} for at, text in enumerate(texts)])


def test_a_document_whose_vector_is_nan_is_skipped_and_written_down(tmp_path: Path, encoder: Spoiling) -> None:
    skipped = tmp_path / "c.skipped.jsonl"
    corpus = read_corpus(lines(tmp_path / "c.jsonl", {1, 4}), on_error="skip", skipped_to=skipped)
    report = build_collection(corpus, tmp_path / "c", dense=encoder, show_progress=False)
    assert (report.documents, report.skipped, report.new) == (4, 2, 4)
    listed = [json.loads(line) for line in skipped.read_text().splitlines()]
    assert [line["id"] for line in listed] == ["d1", "d4"] and "NaN" in listed[0]["reason"]
    with Collection.open(tmp_path / "c") as collection:
        assert list(collection.documents.ids()) == ["d0", "d2", "d3", "d5"]
    again = read_corpus(lines(tmp_path / "c.jsonl", {0}, 8), on_error="skip", skipped_to=skipped)
    update = update_collection(again, tmp_path / "c", encoders={"dense": encoder}, show_progress=False)
    assert (update.skipped, update.new, update.changed, update.documents) == (1, 4, 0, 8)
    with Collection.open(tmp_path / "c") as collection:
        assert collection.documents.contents(["d0"]) == ["fresh apple number0"], "the version before stays"


def test_without_skip_or_without_a_sound_document_the_build_ends(tmp_path: Path, encoder: Spoiling) -> None:
    with pytest.raises(ModelError, match="NaN"):
        build_collection(read_corpus(lines(tmp_path / "a.jsonl", {1})), tmp_path / "a", dense=encoder)
    corpus = read_corpus(lines(tmp_path / "b.jsonl", set(range(6))), on_error="skip")
    with pytest.raises(ModelError, match="NaN"):
        build_collection(corpus, tmp_path / "b", dense=encoder)
    chunks = ChunkedCorpus(read_corpus(lines(tmp_path / "d.jsonl", {1}), on_error="skip"), Chunking(size=2, overlap=0))
    with pytest.raises(ModelError, match="NaN"):
        build_collection(chunks, tmp_path / "d", dense=encoder)
    assert not any((tmp_path / name).exists() for name in "abd")
