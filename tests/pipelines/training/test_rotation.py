"""The initial model of Matryoshka training: rotated vectors."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from checkpoints import WORDS, write_bert
from indexing.errors import InputError
from pipelines.training.recipes.rotation import principal_axes, write_rotated_encoder
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.train import train
from retrieve.encoders import DenseEncoder

TEXTS = [" ".join(np.random.default_rng(at).choice(WORDS, 6)) for at in range(60)]


def test_axes_are_orthogonal_and_the_first_hold_most_energy() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 8)) @ np.random.default_rng(2).normal(size=(8, 8))
    axes = principal_axes(vectors)
    np.testing.assert_allclose(axes @ axes.T, np.eye(8), atol=1e-6)
    energy = ((vectors @ axes.T) ** 2).sum(axis=0)
    assert (np.diff(energy) <= 0).all()
    np.testing.assert_allclose(energy, np.linalg.svd(vectors, compute_uv=False) ** 2, rtol=1e-4)


def test_full_vectors_compare_as_before_and_truncated_ones_keep_more(tmp_path: Path) -> None:
    before = DenseEncoder(write_bert(tmp_path / "bert"), dtype="float32", device="cpu")
    after = DenseEncoder(write_rotated_encoder(before, TEXTS, tmp_path / "start"), dtype="float32", device="cpu")
    was, now = before.encode(TEXTS), after.encode(TEXTS)
    np.testing.assert_allclose(now @ now.T, was @ was.T, rtol=1e-4, atol=1e-4)
    assert (now[:, :4] ** 2).sum() > (was[:, :4] ** 2).sum()


def test_a_rotation_needs_texts(tmp_path: Path) -> None:
    encoder = DenseEncoder(write_bert(tmp_path / "bert"), dtype="float32", device="cpu")
    with pytest.raises(InputError, match="must be fitted on texts"):
        write_rotated_encoder(encoder, [], tmp_path / "start")


@pytest.mark.parametrize(("widths", "turned"), [((32, 8), True), ((32,), False), (None, False)])
def test_a_run_with_widths_begins_with_a_rotation(tmp_path: Path, widths: tuple[int, ...] | None, turned: bool) -> None:
    Dataset.from_dict({"query": TEXTS[:8], "positive": TEXTS[8:16]}).to_json(tmp_path / "rows.jsonl")
    settings = TrainSettings(
        str(write_bert(tmp_path / "bert")),
        str(tmp_path / "out"),
        data=str(tmp_path / "rows.jsonl"),
        matryoshka=widths,
        max_steps=1,
        batch_size=4,
        bf16=False,
    )
    final = DenseEncoder(train("dense", settings).folder, device="cpu")
    assert ("Dense" in [type(module).__name__ for module in final.modules]) is turned
    assert final.dimension == 32


def test_sentence_transformers_reads_a_rotated_encoder(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    before = DenseEncoder(write_bert(tmp_path / "bert"), dtype="float32", device="cpu")
    folder = write_rotated_encoder(before, TEXTS, tmp_path / "start")
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, DenseEncoder(folder, dtype="float32", device="cpu").encode(TEXTS), atol=1e-5)
