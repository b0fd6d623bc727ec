"""Training with weights divided among processes (FSDP), and the configurations of FSDP and DeepSpeed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import write_bert
from indexing.errors import InputError
from pipelines.training.arguments import DenseTrainingArguments
from retrieve.encoders import CrossEncoder, DenseEncoder
from training_runs import ARGUMENTS

ROOT = Path(__file__).parents[3]
TRAINING = """
import json, sys
from pathlib import Path
import torch
from accelerate import state
from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments
from pipelines.training.losses.cross.multiple_negatives_ranking import MultipleNegativesRankingLoss as CrossLoss
from pipelines.training.losses.multiple_negatives_ranking import MultipleNegativesRankingLoss
from pipelines.training.sharding import is_sharded
from pipelines.training.trainer import DenseTrainer, RerankerTrainer
from retrieve.encoders import CrossEncoder, DenseEncoder
from training_runs import ARGUMENTS, losses_of, triples

kind, model, folder, sharded, resumed = sys.argv[1:]
start = state.AcceleratorState.__init__

def on_cpus(self, *arguments, **options):
    # accelerate divides weights on accelerators only; torch does on CPUs, too.
    start(self, *arguments, **options)
    if options.get("fsdp_plugin") is not None:
        self.fsdp_plugin = options["fsdp_plugin"]
    if getattr(self, "fsdp_plugin", None) is not None:
        self.distributed_type = state.DistributedType.FSDP

state.AcceleratorState.__init__ = on_cpus
options = ARGUMENTS | {"max_steps": 4, "dropout": 0.0, "save_strategy": "steps", "save_steps": 2,
                       "per_device_train_batch_size": 4, "weight_decay": 0.0, "adam_epsilon": 1e-3}
if json.loads(sharded):
    options |= {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": ["BertLayer"]}}
if kind == "dense":
    encoder = DenseEncoder(model, dtype="float32", device="cpu")
    loss = MultipleNegativesRankingLoss(encoder, gather_across_devices=True)
    trainer = DenseTrainer(encoder, DenseTrainingArguments(folder, **options), triples(), loss=loss)
else:
    encoder = CrossEncoder(model, dtype="float32", device="cpu")
    loss = CrossLoss(encoder, num_negatives=2)
    trainer = RerankerTrainer(encoder, RerankerTrainingArguments(folder, **options), triples(), loss=loss)
trainer.train(resume_from_checkpoint=resumed or None)
assert is_sharded(encoder.network) == json.loads(sharded)
trainer.save()
if trainer.args.should_save:
    (Path(folder) / "losses.json").write_text(json.dumps(losses_of(trainer)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "reranker"])
def test_divided_weights_train_as_whole_ones_and_resume(
    kind: str, tmp_path: Path, tiny_cross_encoder: CrossEncoder
) -> None:
    model = write_bert(tmp_path / "bert") if kind == "dense" else Path(tiny_cross_encoder.checkpoint.folder)
    (script := tmp_path / "training.py").write_text(TRAINING)

    def losses(name: str, *, sharded: bool, resumed: Path | None = None) -> list[float]:
        launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), kind]
        arguments = [str(model), str(tmp_path / name), json.dumps(sharded), str(resumed or "")]
        done = in_a_process(*launched, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        found: list[float] = json.loads((tmp_path / name / "losses.json").read_text())
        return found

    whole = losses("whole", sharded=False)
    assert losses("divided", sharded=True) == pytest.approx(whole, abs=1e-4)
    resumed = tmp_path / "divided" / "checkpoint-2"
    assert losses("resumed", sharded=True, resumed=resumed) == pytest.approx(whole, abs=1e-4)
    for saved in ("checkpoint-2", "final"):
        torch.testing.assert_close(
            weights(kind, tmp_path / "divided" / saved), weights(kind, tmp_path / "whole" / saved), rtol=0, atol=1e-4
        )
    torch.testing.assert_close(
        weights(kind, tmp_path / "resumed/final"), weights(kind, tmp_path / "whole/final"), rtol=0, atol=1e-4
    )


def in_a_process(*command: str) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=240)


def weights(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    encoder: Any = DenseEncoder if kind == "dense" else CrossEncoder
    return dict(encoder(folder, dtype="float32", device="cpu").network.state_dict())


def test_configurations_are_read_before_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (broken := tmp_path / "broken.json").write_text("{")
    (config := tmp_path / "ds.json").write_text("{}")
    for name in ("fsdp_config", "deepspeed"):
        for path in (broken, tmp_path / "none.json"):
            with pytest.raises(InputError, match=f"{name} must be a mapping or a JSON file"):
                DenseTrainingArguments(str(tmp_path), **ARGUMENTS | {"fsdp": True, name: str(path)})
    with pytest.raises(InputError, match="use version 2"):
        DenseTrainingArguments(str(tmp_path), **ARGUMENTS | {"fsdp": True, "fsdp_config": {"version": 1}})
    if find_spec("deepspeed") is None:
        with pytest.raises(InputError, match="deepspeed is not installed"):
            DenseTrainingArguments(str(tmp_path), **ARGUMENTS | {"deepspeed": str(config)})
    DenseTrainingArguments(str(tmp_path), **ARGUMENTS | {"fsdp": True})
    assert "fsdp has no effect on CPUs" in caplog.text
