"""Training encoders whose checkpoints have code of their own, up to the best checkpoint that is loaded at the end."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from checkpoints import write_bert, write_json
from pipelines.training.arguments import DenseTrainingArguments
from pipelines.training.losses import MultipleNegativesRankingLoss
from pipelines.training.trainer import DenseTrainer
from retrieve.encoders import DenseEncoder
from training_rows import text

MODEL = """
from transformers import BertConfig, BertModel

class OwnConfig(BertConfig):
    model_type = "acme-own"

class OwnModel(BertModel):
    config_class = OwnConfig
"""
AUTO = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(home))
    monkeypatch.syspath_prepend(str(home))
    folder = write_bert(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"model_type": "acme-own", "auto_map": AUTO})
    (folder / "modeling_own.py").write_text(MODEL)
    return folder


def test_the_best_checkpoint_of_a_trusted_model_is_loaded_and_a_run_resumes(own: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = Dataset.from_dict({name: [text(draw) for _ in range(24)] for name in ("query", "positive")})
    settings = {
        "output_dir": str(tmp_path / "run"),
        "per_device_train_batch_size": 4,
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 2,
        "eval_steps": 2,
        "load_best_model_at_end": True,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }

    def trainer(**options: int) -> DenseTrainer:
        encoder = DenseEncoder(own, dtype="float32", device="cpu", trust_remote_code=True)
        arguments = DenseTrainingArguments(**settings | options)  # type: ignore[arg-type]
        return DenseTrainer(encoder, arguments, rows, rows, loss=MultipleNegativesRankingLoss(encoder))

    first = trainer(max_steps=4)
    first.train()
    best = DenseEncoder(str(first.state.best_model_checkpoint), dtype="float32", device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(first.encoder.encode(["water"]), best.encode(["water"]), atol=1e-6)
    second = trainer(max_steps=6)
    second.train(resume_from_checkpoint=True)
    assert second.state.global_step == 6
    assert not (tmp_path / "run" / ".trial").exists()
