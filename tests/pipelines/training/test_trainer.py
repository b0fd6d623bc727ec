"""Runs of the trainers: their data, checkpoints, held-out figures and arguments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from transformers import BertForMaskedLM, BertModel

from checkpoints import write_bert
from indexing.errors import InputError
from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments, SparseTrainingArguments
from pipelines.training.data import TrainingRows
from pipelines.training.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
    SpladeLoss,
)
from pipelines.training.losses.cross import MultipleNegativesRankingLoss as CrossRankingLoss
from pipelines.training.model import trained
from pipelines.training.trainer import DenseTrainer, RerankerTrainer, SparseTrainer, last_checkpoint
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder
from training_runs import ARGUMENTS, dense, losses_of, triples


def test_splitting_batches_by_length_does_not_change_the_result(bert: Path) -> None:
    encoder = dense(bert)
    model = trained(encoder)
    rows = Dataset.from_dict({"text": ["water", " ".join(["fire"] * 20), "?", "heat light"] * 30})
    batch = TrainingRows(rows, model, show_progress=False).__getitems__(range(120))
    np.testing.assert_allclose(
        model(batch["columns"][0])["sentence_embedding"].detach().numpy(), encoder.encode(rows["text"]), atol=1e-5
    )


def test_a_killed_run_resumes_to_the_same_end(bert: Path, tmp_path: Path) -> None:
    rows = triples()
    settings = ARGUMENTS | {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 3, "seed": 5}
    settings |= {"batch_sampler": "no_duplicates"}

    def run(encoder: DenseEncoder, folder: str) -> DenseTrainer:
        arguments = DenseTrainingArguments(str(tmp_path / folder), **settings)
        return DenseTrainer(encoder, arguments, rows, loss=MultipleNegativesRankingLoss(encoder))

    whole, first, again = dense(bert), dense(bert), dense(bert)
    straight = run(whole, "whole")
    straight.train()

    class Killed(Exception):  # noqa: N818
        pass

    trainer = run(first, "run")
    step = trainer.training_step

    def killed(*args: Any, **more: Any) -> Any:
        if trainer.state.global_step == 10:
            raise Killed
        return step(*args, **more)

    trainer.training_step = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.train()
    (tmp_path / "run" / "checkpoint-12").mkdir()  # an incomplete checkpoint

    resumed = run(again, "run")
    newest = last_checkpoint(tmp_path / "run")
    assert newest is not None and newest.endswith("checkpoint-8")
    resumed.train(resume_from_checkpoint=newest)
    assert losses_of(resumed)[-1] == losses_of(straight)[-1]
    for mine, other in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_the_best_model_is_loaded_and_checkpoints_are_models(bert: Path, tmp_path: Path) -> None:
    encoder, calls = dense(bert), []

    def evaluator(model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        calls.append((steps, model.encode("water fire")))
        return {"ndcg": {3: 0.2, 6: 0.9}.get(steps, 0.1)}

    arguments = ARGUMENTS | {
        "save_strategy": "steps",
        "save_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "max_steps": 9,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_ndcg",
        "greater_is_better": True,
    }
    trainer = DenseTrainer(
        encoder,
        DenseTrainingArguments(str(tmp_path / "run"), **arguments),
        triples(),
        loss=MultipleNegativesRankingLoss(encoder),
        evaluator=evaluator,
    )
    trainer.train()
    assert not encoder.network.training, "it is back in inference mode"
    best = next(vector for steps, vector in calls if steps == 6)
    np.testing.assert_allclose(encoder.encode("water fire"), best, atol=1e-6)
    np.testing.assert_allclose(dense(tmp_path / "run" / "checkpoint-6").encode("water fire"), best, atol=1e-6)
    assert not list((tmp_path / "run").rglob("*.bin")), "nothing is pickled except transformers' own optimizer state"
    assert json.loads((tmp_path / "run" / "checkpoint-6" / "training_arguments.json").read_text())["max_steps"] == 9


def test_several_datasets_each_with_its_loss(bert: Path, tmp_path: Path) -> None:
    encoder = dense(bert)
    rows = triples()
    scored = Dataset.from_dict({"a": rows["query"], "b": rows["positive"], "score": [at / 40 for at in range(40)]})
    trainer = DenseTrainer(
        encoder,
        DenseTrainingArguments(str(tmp_path / "run"), num_train_epochs=1, prompts={"pairs": "x: "}, **ARGUMENTS),
        {"triples": rows, "pairs": scored},
        loss={"triples": MultipleNegativesRankingLoss(encoder), "pairs": CoSENTLoss(encoder)},
    )
    trainer.train()
    assert trainer.state.global_step == 10


def test_splade_raises_its_regularizers_and_logs_its_parts(tmp_path: Path) -> None:
    encoder = SparseEncoder(write_bert(tmp_path / "mlm", BertForMaskedLM), dtype="float32", device="cpu")
    loss = SpladeLoss(encoder, MultipleNegativesRankingLoss(encoder, 1.0, "dot"), 3e-2, 5e-2)
    arguments = SparseTrainingArguments(str(tmp_path / "run"), max_steps=9, **ARGUMENTS)
    trainer = SparseTrainer(encoder, arguments, triples(), loss=loss)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    weights = [entry["document_regularizer_weight"] for entry in logs]
    assert weights[:3] == pytest.approx([0.0, 3e-2 / 9, 3e-2 * 4 / 9])
    assert weights[3:] == pytest.approx([3e-2] * 6)
    for entry in logs:
        parts = [entry[name] for name in ("base_loss", "document_regularizer_loss", "query_regularizer_loss")]
        assert sum(parts) == pytest.approx(entry["loss"], rel=1e-3)


def test_a_log_gets_lines_of_training_and_evaluation(bert: Path, tmp_path: Path, capsys: Any) -> None:
    encoder = dense(bert)
    shown = ARGUMENTS | {"disable_tqdm": False, "eval_strategy": "epoch"}
    arguments = DenseTrainingArguments(str(tmp_path / "run"), max_steps=5, **shown)
    trainer = DenseTrainer(encoder, arguments, triples(), triples(16), loss=MultipleNegativesRankingLoss(encoder))
    trainer.train()
    output = capsys.readouterr()
    assert "training: 5 steps in" in output.err and "evaluating: 2 steps in" in output.err
    assert "\r" not in output.err and output.out.count("'loss': ") == 5 and "'eval_loss': " in output.out


def test_a_streamed_dataset_trains_as_the_same_rows_in_memory(bert: Path, tmp_path: Path) -> None:
    rows = triples(16)
    encoder = dense(bert)

    def stream() -> Any:
        yield from rows

    trainer = DenseTrainer(
        encoder,
        DenseTrainingArguments(str(tmp_path / "run"), max_steps=3, **ARGUMENTS),
        IterableDataset.from_generator(stream),
        loss=MultipleNegativesRankingLoss(encoder),
    )
    trainer.train()
    assert trainer.state.global_step == 3


def test_prompts_by_dataset_apply_to_held_out_datasets(bert: Path, tmp_path: Path) -> None:
    encoder, sets = dense(bert), DatasetDict({"a": triples(8), "b": triples(8)})
    arguments = DenseTrainingArguments(str(tmp_path / "run"), prompts={"a": "water fire heat "}, **ARGUMENTS)
    loss = MultipleNegativesRankingLoss(encoder)
    trainer = DenseTrainer(encoder, arguments, sets, sets, loss=loss)
    lengths = [rows._columns[0].tokens.prompt_length for rows in trainer.eval_dataset.datasets]
    assert lengths[0] > lengths[1] == 0
    arguments = DenseTrainingArguments(str(tmp_path / "run"), prompts={"a": {"query": "water "}}, **ARGUMENTS)
    with pytest.raises(InputError, match="prompts names 'a'"):
        DenseTrainer(encoder, arguments, sets, triples(8), loss=loss)
    streams = {"a": IterableDataset.from_generator(lambda: iter(triples(8))), "b": triples(8)}
    with pytest.raises(InputError, match="'a' is streamed"):
        DenseTrainer(encoder, arguments, streams, loss=loss)


def test_held_out_streams_by_name_have_their_prompts_and_all_their_rows(bert: Path, tmp_path: Path) -> None:
    encoder, sets = dense(bert), DatasetDict({"a": triples(8), "b": triples(8)})
    arguments = DenseTrainingArguments(str(tmp_path / "run"), prompts={"a": "water fire heat "}, **ARGUMENTS)
    loss = MultipleNegativesRankingLoss(encoder)
    streams = IterableDatasetDict({name: rows.to_iterable_dataset() for name, rows in sets.items()})
    trainer = DenseTrainer(encoder, arguments, sets, sets, loss=loss)
    streamed = DenseTrainer(encoder, arguments, sets, streams, loss=loss)
    assert streamed.evaluate()["eval_loss"] == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-5)


def test_a_cross_encoder_trains_on_a_stream_as_on_the_same_rows(cross_encoder: CrossEncoder, tmp_path: Path) -> None:
    rows = triples(24).rename_column("negative", "negative_1")
    loss = CrossRankingLoss(cross_encoder)
    arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"max_steps": 4})
    trainer = RerankerTrainer(
        cross_encoder, arguments, rows.to_iterable_dataset(), rows.to_iterable_dataset(), loss=loss
    )
    trainer.train()
    assert trainer.state.global_step == 4
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    with pytest.raises(InputError, match="no length: set max_steps"):
        arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
        RerankerTrainer(cross_encoder, arguments, rows.to_iterable_dataset(), loss=loss)
    with pytest.raises(InputError, match="can be read only once"):
        arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"max_steps": 4})
        RerankerTrainer(cross_encoder, arguments, iter(rows), loss=loss)


def test_weights_are_loaded_with_the_arguments_that_the_model_was_loaded_with(bert: Path, tmp_path: Path) -> None:
    encoder = DenseEncoder(bert, dtype="float32", device="cpu", max_length=7, allow_bin=True)
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
    trainer = DenseTrainer(encoder, arguments, triples(8), loss=MultipleNegativesRankingLoss(encoder))
    (saved := tmp_path / "saved").mkdir()
    encoder.save(saved)
    weights = dense(saved).network.state_dict()
    torch.save(BertModel.from_pretrained(saved).state_dict(), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    found = trainer.saved_weights(saved)
    assert found.keys() == weights.keys()


def test_other_held_out_rows_are_scored_with_the_same_loss(bert: Path, tmp_path: Path) -> None:
    encoder, rows = dense(bert), triples(16)
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
    loss = MultipleNegativesRankingLoss(encoder)
    trainer = DenseTrainer(encoder, arguments, rows, rows, loss=loss)
    expected = trainer.evaluate()["eval_loss"]
    assert trainer.evaluate(eval_dataset=rows)["eval_loss"] == expected
    assert trainer.evaluate(eval_dataset=rows.to_list())["eval_loss"] == expected
    assert trainer.evaluate(eval_dataset=rows.select(range(8)))["eval_loss"] != expected


def test_weights_are_loaded_with_the_trust_that_the_model_was_loaded_with(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = DenseEncoder(bert, dtype="float32", device="cpu", trust_remote_code=True)
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
    trainer = DenseTrainer(encoder, arguments, triples(8), loss=MultipleNegativesRankingLoss(encoder))
    seen, load = [], DenseEncoder.__init__

    def watched(self: Any, *values: Any, **options: Any) -> None:
        seen.append(options.get("trust_remote_code"))
        load(self, *values, **options)

    monkeypatch.setattr(DenseEncoder, "__init__", watched)
    trainer.load_weights(str(bert))
    assert seen == [True]


@pytest.mark.parametrize("cached", [False, True])
def test_gradient_checkpointing_computes_layers_twice_and_changes_no_weight(
    bert: Path, tmp_path: Path, cached: bool
) -> None:
    ends, calls = [], []
    for enabled in (False, True):
        encoder, loss_class = (
            dense(bert),
            CachedMultipleNegativesRankingLoss if cached else MultipleNegativesRankingLoss,
        )
        layers = [module for module in encoder.network.modules() if type(module).__name__ == "BertIntermediate"]
        count: list[int] = []
        for layer in layers:
            layer.register_forward_hook(lambda *_, count=count: count.append(1))
        arguments = ARGUMENTS | {"max_steps": 2, "gradient_checkpointing": enabled, "dropout": 0.1}
        arguments = DenseTrainingArguments(str(tmp_path / "run"), **arguments)
        trainer = DenseTrainer(encoder, arguments, triples(16), loss=loss_class(encoder))
        count.clear()
        trainer.train()
        calls.append(len(count))
        ends.append(encoder.encode(["water fire", "heat"]))
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)
    assert calls[1] > calls[0]


def test_learning_rates_by_name(bert: Path, tmp_path: Path) -> None:
    encoder = dense(bert)
    before = {name: value.clone() for name, value in encoder.network.named_parameters()}
    arguments = ARGUMENTS | {"max_steps": 2, "learning_rate_mapping": {r"embeddings\.": 0.0}}
    trainer = DenseTrainer(
        encoder,
        DenseTrainingArguments(str(tmp_path / "run"), **arguments),
        triples(),
        loss=MultipleNegativesRankingLoss(encoder),
    )
    trainer.train()
    changed = {name for name, value in encoder.network.named_parameters() if not torch.equal(value, before[name])}
    assert changed and not [name for name in changed if "embeddings." in name]
    arguments["learning_rate_mapping"] = {"no such layer": 0.1}
    trainer = DenseTrainer(
        encoder,
        DenseTrainingArguments(str(tmp_path / "run"), **arguments),
        triples(),
        loss=MultipleNegativesRankingLoss(encoder),
    )
    with pytest.raises(InputError, match="no such layer"):
        trainer.train()
