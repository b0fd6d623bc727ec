"""Training in separate processes: one that is killed and resumed, and two that train one model."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import WORDS, write_bert
from pipelines.cli import main
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

ROOT = Path(__file__).parents[3]
SMALL = ["--batch-size", "4", "--no-bf16", "--lr", "1e-3"]
ENCODERS: dict[str, Any] = {"dense": DenseEncoder, "sparse": SparseEncoder, "reranker": CrossEncoder}

KILLED = """
import os, signal, sys
from pipelines.training.trainer import Trainer
from pipelines.cli import main

step = Trainer.training_step

def killed(self, *arguments, **options):
    if self.state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments, **options)

Trainer.training_step = killed
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("processes") / "bert")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw, path = random.Random(1), tmp_path_factory.mktemp("rows") / "rows.jsonl"
    texts = [[" ".join(draw.choices(WORDS, k=draw.randrange(2, 9))) for _ in range(3)] for _ in range(48)]
    lines = [dict(zip(("query", "positive", "negative"), row, strict=True)) for row in texts]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def in_a_process(*command: str) -> "subprocess.CompletedProcess[str]":
    # The number of threads decides the order of summation, and so the rounding.
    threads = str(torch.get_num_threads())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=240)


def weights(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    return dict(ENCODERS[kind](folder, dtype="float32", device="cpu").network.state_dict())


@pytest.mark.parametrize(
    "kind", ["dense", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ENCODERS if kind != "dense")]
)
def test_a_run_killed_without_warning_resumes_to_the_same_end(
    kind: str, bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(output: Path) -> list[str]:
        given = ["train", kind, "--model", str(bert), "--data", str(rows), "--output", str(output)]
        return [*given, *SMALL, "--max-steps", "8", "--checkpoints", "4", "--dropout", "0.1"]

    # With dropout, because resuming also restores the random numbers.
    assert main(command(tmp_path / "whole")) == 0
    assert in_a_process("-c", KILLED, *command(tmp_path / "killed")).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "final").exists()
    capsys.readouterr()
    assert main(command(tmp_path / "killed")) == 0
    assert "resumed from step 4" in capsys.readouterr().out
    whole, resumed = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "killed"))
    assert resumed["last_loss"] == whole["last_loss"] and resumed["steps"] == 8
    torch.testing.assert_close(
        weights(kind, tmp_path / "killed/final"), weights(kind, tmp_path / "whole/final"), rtol=0.0, atol=0.0
    )


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates_two_batches(bert: Path, rows: Path, tmp_path: Path) -> None:
    # With plain SGD: Adam would turn a gradient of mere rounding errors into a full step.
    one, two = "{optim: sgd, gradient_accumulation_steps: 2}", "{optim: sgd}"
    for name, arguments in (("one", one), ("two", two)):
        (tmp_path / f"{name}.yaml").write_text(f"lr: 0.1\narguments: {arguments}\n")

    def command(name: str) -> list[str]:
        given = [
            "train",
            "sparse",
            "--config",
            str(tmp_path / f"{name}.yaml"),
            "--model",
            str(bert),
            "--data",
            str(rows),
        ]
        given += ["--output", str(tmp_path / name), "--inference-free", "--max-steps", "4", "--dropout", "0"]
        return [*given, "--batch-size", "4", "--no-bf16"]

    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pipelines.cli"]
    done = in_a_process(*launched, *command("two"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("the model card") == 1, "the first reports"
    assert main(command("one")) == 0
    alone, together, start = (weights("sparse", tmp_path / name) for name in ("one/final", "two/final", "one/start"))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    moved = {name for name in start if not torch.equal(start[name], alone[name])}
    assert {name.split(".")[2] for name in moved} == {"query", "document"}
