"""What tests of evaluators beside sentence-transformers' share: texts, and the comparison of two evaluators."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.sentence_transformer import evaluation as their_dense
from sentence_transformers.sparse_encoder import evaluation as their_sparse

from pipelines.evaluation import evaluators as ours

WORDS = ["water", "fire", "heat", "light", "wave", "cell", "energy", "stock", "market", "price", "vaccine", "the"]
KINDS = ["dense", "sparse"]


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(2, 9)))


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [text(draw) for _ in range(count)]


def rows(path: Path) -> list[list[Any]]:
    found = list(csv.reader(path.open(encoding="utf-8")))
    return [found[0], *([float(value) for value in row] for row in found[1:])]


def assert_same(
    mine: Any, theirs: Any, pair: tuple[Any, Any] | None, folder: Path, *, tolerance: float = 1e-6, twice: bool = True
) -> dict[str, float]:
    """Call both, twice, as at two steps of training; compare figures, the primary one and the file."""
    for steps in (10, 20) if twice else (10,):
        where = {"epoch": 1, "steps": steps}
        models = ((), ()) if pair is None else ((pair[0],), (pair[1],))
        found = mine(*models[0], output_path=str(folder / "mine"), **where)
        expected = theirs(*models[1], output_path=str(folder / "theirs"), **where)
        assert list(found) == list(expected) or found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=tolerance, rel=tolerance), key
    assert mine.primary_metric == theirs.primary_metric
    written = rows(folder / "theirs" / theirs.csv_file)
    own = rows(folder / "mine" / mine.csv_file)
    assert own[0] == written[0]
    for row, wanted in zip(own[1:], written[1:], strict=True):
        np.testing.assert_allclose(row, wanted, rtol=tolerance, atol=tolerance)
    return found


def pick(kind: str, name: str) -> tuple[Any, Any]:
    sparse = kind == "sparse"
    theirs = getattr(their_sparse if sparse else their_dense, f"{'Sparse' if sparse else ''}{name}")
    return getattr(ours, f"{'Sparse' if sparse else ''}{name}"), theirs
