"""The final step of Matryoshka training: fitting the rotation layer to all rows at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from checkpoints import WORDS, write_bert
from pipelines.training.recipes import last_layer
from pipelines.training.recipes.last_layer import HELD_OUT, fit_last_layer
from pipelines.training.recipes.rotation import write_rotated_encoder
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.train import train
from retrieve.encoders import DenseEncoder

DRAWN = np.random.default_rng(0)
POSITIVES = [" ".join(DRAWN.choice(WORDS, 9)) for _ in range(300)]
QUERIES = [" ".join(text.split()[:5]) for text in POSITIVES]
WIDTHS = (32, 8)


@pytest.fixture(autouse=True)
def few_rows_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_layer, "MIN_ROWS", 200)


@pytest.fixture
def encoder(tmp_path: Path) -> DenseEncoder:
    plain = DenseEncoder(write_bert(tmp_path / "bert"), dtype="float32", device="cpu")
    return DenseEncoder(write_rotated_encoder(plain, POSITIVES, tmp_path / "start"), dtype="float32", device="cpu")


def rows(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict({"query": QUERIES, "positive": POSITIVES, **columns})


def reciprocal_rank(encoder: DenseEncoder) -> float:
    """Return the MRR of held-out queries over all documents, averaged over the widths, computed naively."""
    asked, read = encoder.encode(QUERIES[::HELD_OUT]), encoder.encode(POSITIVES)
    means = []
    for width in WIDTHS:
        left, right = (
            part[:, :width] / np.linalg.norm(part[:, :width], axis=1, keepdims=True) for part in (asked, read)
        )
        scores = left @ right.T
        own = scores[np.arange(len(asked)), np.arange(len(read))[::HELD_OUT]]
        means.append(float(np.mean(1 / (scores >= own[:, None] - 1e-7).sum(axis=1))))
    return float(np.mean(means))


def test_held_out_rows_rank_higher_as_reported(encoder: DenseEncoder) -> None:
    was = reciprocal_rank(encoder)
    fit = fit_last_layer(encoder, WIDTHS, rows(), seed=1)

    assert fit is not None and fit[1] > fit[0]
    assert fit[0] == pytest.approx(was, abs=2e-3)
    assert reciprocal_rank(encoder) == pytest.approx(fit[1], abs=2e-3)


def test_a_fit_that_is_not_better_is_discarded(encoder: DenseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_layer, "_fit", lambda queries, *_: torch.zeros(queries.shape[1], queries.shape[1]))
    before = encoder.encode(QUERIES)

    fit = fit_last_layer(encoder, WIDTHS, rows(negative=POSITIVES[::-1]), seed=1)

    assert fit is not None and fit[1] <= fit[0]
    assert np.array_equal(encoder.encode(QUERIES), before)


def test_of_many_rows_evenly_spaced_ones_are_used(encoder: DenseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_layer, "MAX_ROWS", 210)
    encode, read = encoder.encode_query, list[str]()
    monkeypatch.setattr(
        encoder, "encode_query", lambda texts, **options: read.extend(texts) or encode(texts, **options)
    )

    assert fit_last_layer(encoder, WIDTHS, rows(), seed=1) is not None

    assert len(read) == 210
    assert (read[0], read[-1]) == (QUERIES[0], QUERIES[-1])


def test_unsuitable_rows_and_models_are_skipped(encoder: DenseEncoder, tmp_path: Path) -> None:
    plain = DenseEncoder(tmp_path / "bert", dtype="float32", device="cpu")

    assert fit_last_layer(plain, WIDTHS, rows(), seed=1) is None
    assert fit_last_layer(encoder, WIDTHS, rows(label=[1.0] * len(QUERIES)), seed=1) is None
    assert fit_last_layer(encoder, WIDTHS, rows().select(range(199)), seed=1) is None


def test_a_run_ends_with_the_fit_and_reports_its_figures(tmp_path: Path) -> None:
    rows().to_json(tmp_path / "rows.jsonl")
    settings = TrainSettings(
        str(write_bert(tmp_path / "bert")),
        str(tmp_path / "out"),
        data=str(tmp_path / "rows.jsonl"),
        eval_data=str(tmp_path / "rows.jsonl"),
        matryoshka=WIDTHS,
        max_steps=2,
        batch_size=16,
        bf16=False,
        checkpoints=1,
    )

    report = train("dense", settings)

    final = DenseEncoder(report.folder, dtype="float32", device="cpu")
    last = DenseEncoder(tmp_path / "out" / "checkpoint-2", dtype="float32", device="cpu")
    assert report.steps == 2
    assert reciprocal_rank(final) > reciprocal_rank(last)
    # The figures of the fitted model are in a row of the log after the last step.
    card = (report.folder / "README.md").read_text("utf-8")
    losses = [entry for entry in card.splitlines() if entry.startswith("|") and " 3 " in entry]
    assert report.after["loss"] < report.before["loss"]
    assert losses, "the card has no row of the fitted layer"
