"""Rows beside the backends of sentence-transformers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed.encoding import DENSE
from benchmarks.speed.measure import Measured, alternate, measured_row, processor
from benchmarks.speed.peers import PeerSide, peer_rows, peers_python
from checkpoints import WORDS, write_bert
from indexing.errors import InputError
from retrieve.encoders import DenseEncoder

SECONDS = {
    "float32": 2.0,
    "int8": 1.0,
    "torch": 4.0,
    "onnx": 3.5,
    "openvino": 3.0,
    "onnx-int8": 1.2,
    "openvino-int8": 0.9,
}
BACKENDS = [name for name in SECONDS if name not in ("float32", "int8")]


class Given:
    """A side that takes the given seconds, run by run."""

    def __init__(self, *taken: float) -> None:
        self._taken = iter(taken)
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []

    def run(self) -> None:
        self.seconds.append(next(self._taken))
        self.processor_seconds.append(1.0)

    def finish(self) -> tuple[Any, float]:
        return list(self._taken), 10.0


def test_equal_precision_and_any_precision_are_separate_rows_with_agreement():
    vectors = np.eye(3, dtype=np.float32)
    turned = vectors + 0.1
    found = {
        name: Measured([seconds], turned if "int8" in name else vectors, 100.0, [2 * seconds])
        for name, seconds in SECONDS.items()
    }

    rows = {
        (row["setting"], row["peer"].split()[-1]): row
        for row in peer_rows(DENSE, found, dict.fromkeys(BACKENDS, "batches of 8"), 3)
    }

    assert [setting for setting, _ in rows] == [
        *(["float32"] * 3 + ["int8"] * 2),
        *("best at equal precision", "best at any precision"),
    ]
    assert rows["float32", "torch"]["ratio"] == 2.0 and rows["int8", "onnx-int8"]["ratio"] == 1.2
    assert rows["best at equal precision", "openvino"]["ratio"] == 1.5
    best = rows["best at any precision", "openvino-int8"]
    assert best["ratio"] == pytest.approx(0.9) and best["agreement"] == pytest.approx(float(1.1 / np.sqrt(1.23)))
    assert "processor seconds 2.00 and 1.80" in best["detail"]
    assert rows["best at equal precision", "openvino"]["agreement"] == 1


def test_runs_that_differ_much_are_repeated_and_then_marked():
    sides = [Given(1, 2, 1, 1.05), Given(1, 1, 1, 1)]
    first, second = alternate(sides, 2, rounds=2)
    assert first.seconds == [1, 1.05] and not first.noisy and second.seconds == [1, 1]

    noisy, steady = alternate([Given(1, 2, 1, 3), Given(1, 1, 1, 1)], 2, rounds=2)
    assert noisy.seconds == [1, 3]
    assert "noisy: runs differ by more than 10% (ours)" in measured_row("t", "s", noisy, steady, 1, "d")["detail"]
    assert measured_row("t", "s", steady, steady, 1, "d")["detail"] == "d"


def test_rows_name_the_processor():
    assert "cores of" in processor() and processor().endswith(")")


def test_a_folder_without_an_environment_is_named(tmp_path):
    with pytest.raises(InputError, match=r"has no bin/python: make it with benchmarks/peers/make_environment.py"):
        peers_python(tmp_path)


@pytest.mark.slow
def test_a_peer_encodes_what_we_encode(tmp_path):
    model, texts = write_bert(tmp_path / "model"), [" ".join(WORDS[at : at + 4]) for at in range(20)]
    (tmp_path / "inputs.json").write_text(json.dumps(texts))
    job = {"kind": "SentenceTransformer", "method": "encode", "model": str(model), "backend": "torch", "threads": 1}
    job |= {"inputs": str(tmp_path / "inputs.json"), "exports": str(tmp_path)}

    with PeerSide(Path(sys.executable), job, {"batch_size": 4, "step": 1}) as side:
        assert side.run() > 0 and side.processor_seconds[0] > 0
        vectors, peak = side.finish()
    with PeerSide(Path(sys.executable), job, {"each": True}) as side:
        side.run()
        (each, one_by_one), _ = side.finish()

    ours = DenseEncoder(model, dtype="float32", device="cpu").encode(texts)
    assert np.allclose(vectors, ours, atol=1e-5) and np.allclose(one_by_one, ours, atol=1e-5)
    assert len(each) == len(texts) and peak > 50
    with pytest.raises(RuntimeError, match="torch failed in the peers' environment"):
        PeerSide(Path(sys.executable), job | {"model": str(tmp_path / "nowhere")}, {})
