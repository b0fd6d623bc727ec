import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from transformers import BertForMaskedLM, BertModel

from checkpoints import write_bert
from indexing.errors import InputError, ModelError, StorageError
from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments, SparseTrainingArguments
from pipelines.training.data import TrainingRows
from pipelines.training.losses import (
    AdaptiveLayerLoss,
    CachedGISTEmbedLoss,
    CachedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedSpladeLoss,
    CoSENTLoss,
    GISTEmbedLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    SpladeLoss,
)
from pipelines.training.losses.cross import BinaryCrossEntropyLoss, ListNetLoss
from pipelines.training.losses.cross import MultipleNegativesRankingLoss as CrossRankingLoss
from pipelines.training.model import trained
from pipelines.training.trainer import DenseTrainer, RerankerTrainer, SparseTrainer, last_checkpoint
from retrieve.encoders import DenseEncoder, SparseEncoder

ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
}


WORDS = ["water", "fire", "heat", "light", "wave", "cell", "energy", "stock", "market"]


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 12)))


def triples(count: int = 40) -> Dataset:
    draw = random.Random(2)
    return Dataset.from_dict({name: [text(draw) for _ in range(count)] for name in ("query", "positive", "negative")})


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def dense(folder: Path) -> DenseEncoder:
    return DenseEncoder(folder, dtype="float32", device="cpu")


def losses_of(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def gradients(loss: Any, encoder: Any, rows: Dataset) -> tuple[float, dict[str, torch.Tensor]]:
    model = trained(encoder)
    model.zero_grad()
    batch = TrainingRows(rows, model, show_progress=False).__getitems__(range(len(rows)))
    value = loss(batch["columns"], batch["labels"])
    value = sum(value.values()) if isinstance(value, dict) else value
    (value * 0.5).backward()
    return float(value.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("sizes", [{"mini_batch_size": 3}, {"mini_batch_num_tokens": 20}, {"mini_batch_size": 100}])
@pytest.mark.parametrize("kind", ["ranking", "matryoshka"])
def test_gradient_caching_gives_the_gradients_of_the_whole_batch(bert: Path, kind: str, sizes: dict[str, int]) -> None:
    encoder, rows = dense(bert), triples(10)
    plain: Any = MultipleNegativesRankingLoss(encoder)
    cached: Any = CachedMultipleNegativesRankingLoss(encoder, **sizes)
    if kind == "matryoshka":
        plain = MatryoshkaLoss(encoder, plain, [32, 8])
        cached = CachedLoss(encoder, plain, **sizes)
    expected, wanted = gradients(plain, encoder, rows)
    value, found = gradients(cached, encoder, rows)
    assert value == pytest.approx(expected, rel=1e-5)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["ranking", "gist", "splade"])
def test_a_wrapper_around_a_cached_loss_embeds_few_texts_at_a_time_and_equals_the_uncached_one(
    bert: Path, kind: str
) -> None:
    encoder, rows = dense(bert), triples(10)
    plain: Any = MultipleNegativesRankingLoss(encoder)
    cached: Any = CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=3)
    if kind == "gist":
        # Without a margin, equal texts are left out or not by rounding.
        plain = GISTEmbedLoss(encoder, dense(bert), margin=1e-3)
        cached = CachedGISTEmbedLoss(encoder, dense(bert), margin=1e-3, mini_batch_size=3)
    if kind == "splade":
        plain, cached = (SpladeLoss(encoder, loss, 3e-3, 5e-3) for loss in (plain, cached))
    else:
        plain, cached = (MatryoshkaLoss(encoder, loss, [32, 8]) for loss in (plain, cached))
    expected, wanted = gradients(plain, encoder, rows)
    seen: list[int] = []
    handle = trained(encoder).register_forward_hook(lambda *event: seen.append(len(event[-1]["sentence_embedding"])))
    value, found = gradients(cached, encoder, rows)
    handle.remove()
    assert max(seen) == 3
    assert value == pytest.approx(expected, rel=1e-5)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-6)


def test_a_loss_over_layers_says_that_it_does_not_cache(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = dense(bert)
    AdaptiveLayerLoss(encoder, CachedMultipleNegativesRankingLoss(encoder))
    assert "AdaptiveLayerLoss embeds each batch at once" in caplog.text


def test_gradient_caching_of_splade_names_its_parts(tmp_path: Path) -> None:
    encoder = SparseEncoder(write_bert(tmp_path / "mlm", BertForMaskedLM), dtype="float32", device="cpu")
    rows = triples(7)
    base = MultipleNegativesRankingLoss(encoder, 1.0, "dot")
    plain, cached = (
        SpladeLoss(encoder, base, 3e-3, 5e-3),
        CachedSpladeLoss(encoder, base, 3e-3, 5e-3, mini_batch_size=2),
    )
    batch = TrainingRows(rows, trained(encoder), show_progress=False).__getitems__(range(7))
    parts, expected = cached(batch["columns"]), plain(batch["columns"])
    assert parts.keys() == expected.keys()
    for name in expected:
        assert float(parts[name].detach()) == pytest.approx(float(expected[name].detach()), rel=1e-5)
    _, wanted = gradients(plain, encoder, rows)
    _, found = gradients(cached, encoder, rows)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-6)


def test_both_passes_of_gradient_caching_have_the_same_dropout(bert: Path) -> None:
    encoder, rows = dense(bert), triples(6)
    model = trained(encoder).train()
    loss = CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=2)
    batch = TrainingRows(rows, model, show_progress=False).__getitems__(range(6))
    seen: list[torch.Tensor] = []
    handle = model.register_forward_hook(lambda *event: seen.append(event[-1]["sentence_embedding"].detach().clone()))
    loss(batch["columns"]).backward()
    handle.remove()
    half = len(seen) // 2
    for first, second in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(first, second)


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


def test_a_figure_that_nothing_returns_is_refused_before_the_first_step(bert: Path, tmp_path: Path) -> None:
    encoder = dense(bert)
    arguments = ARGUMENTS | {"save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 3}
    arguments |= {"max_steps": 9, "load_best_model_at_end": True, "metric_for_best_model": "ndgc"}
    for evaluator, held_out, known in (
        (lambda model, folder, epoch, steps: {"ndcg": 0.5, "mrr": 0.1}, None, "eval_loss, eval_mrr, eval_ndcg"),
        (None, triples(), "there are eval_loss$"),
    ):
        trainer = DenseTrainer(
            encoder,
            DenseTrainingArguments(str(tmp_path / "run"), **arguments),
            triples(),
            held_out,
            loss=MultipleNegativesRankingLoss(encoder),
            evaluator=evaluator,
        )
        with pytest.raises(InputError, match=f"metric_for_best_model='ndgc' is no figure .*{known}"):
            trainer.train()
        assert trainer.state.global_step == 0


def test_a_hub_that_cannot_be_used_is_one_line_before_the_training(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    encoder = dense(bert)
    arguments = DenseTrainingArguments(str(tmp_path / "run"), push_to_hub=True, hub_model_id="a/b", **ARGUMENTS)
    with pytest.raises(InputError, match=r"^push_to_hub: no repository can be created .*`hf auth login`") as raised:
        DenseTrainer(encoder, arguments, triples(), loss=MultipleNegativesRankingLoss(encoder))
    assert "\n" not in str(raised.value)


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


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"querry": "x: "}, r"prompts names 'querry', which is neither a dataset \(a, b, held\) nor a column"),
        ({"a": {"querry": "x: "}}, r"prompts names the column 'querry' of the dataset 'a', which has query"),
        ({"query": {"a": "x: "}}, r"prompts: the value of the column 'query' must be a text"),
        ({"held": {"query": "x: "}, "a": "y: ", "positive": "z: "}, ""),
    ],
)
def test_names_of_prompts_that_can_mean_nothing_are_refused(
    bert: Path, tmp_path: Path, prompts: Any, message: str
) -> None:
    encoder, sets = dense(bert), {"a": triples(8), "b": triples(8).to_list()}
    arguments = DenseTrainingArguments(str(tmp_path / "run"), prompts=prompts, **ARGUMENTS)
    loss = MultipleNegativesRankingLoss(encoder)
    if message:
        with pytest.raises(InputError, match=message):
            DenseTrainer(encoder, arguments, sets, {"held": triples(8)}, loss=loss)
    else:
        DenseTrainer(encoder, arguments, sets, {"held": triples(8)}, loss=loss)
    if isinstance(prompts.get("query"), dict):
        with pytest.raises(InputError, match=message):
            DenseTrainer(encoder, arguments, triples(8), loss=loss)


def test_held_out_streams_by_name_have_their_prompts_and_all_their_rows(bert: Path, tmp_path: Path) -> None:
    encoder, sets = dense(bert), DatasetDict({"a": triples(8), "b": triples(8)})
    arguments = DenseTrainingArguments(str(tmp_path / "run"), prompts={"a": "water fire heat "}, **ARGUMENTS)
    loss = MultipleNegativesRankingLoss(encoder)
    streams = IterableDatasetDict({name: rows.to_iterable_dataset() for name, rows in sets.items()})
    trainer = DenseTrainer(encoder, arguments, sets, sets, loss=loss)
    streamed = DenseTrainer(encoder, arguments, sets, streams, loss=loss)
    assert streamed.evaluate()["eval_loss"] == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-5)


def test_a_cross_encoder_trains_on_a_stream_as_on_the_same_rows(tiny_cross_encoder: Any, tmp_path: Path) -> None:
    rows = triples(24).rename_column("negative", "negative_1")
    loss = CrossRankingLoss(tiny_cross_encoder)
    arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"max_steps": 4})
    trainer = RerankerTrainer(
        tiny_cross_encoder, arguments, rows.to_iterable_dataset(), rows.to_iterable_dataset(), loss=loss
    )
    trainer.train()
    assert trainer.state.global_step == 4
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    with pytest.raises(InputError, match="no length: set max_steps"):
        arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
        RerankerTrainer(tiny_cross_encoder, arguments, rows.to_iterable_dataset(), loss=loss)
    with pytest.raises(InputError, match="can be read only once"):
        arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"max_steps": 4})
        RerankerTrainer(tiny_cross_encoder, arguments, iter(rows), loss=loss)


def test_a_row_of_a_stream_that_does_not_fit_is_refused_before_the_first_step(bert: Path, tmp_path: Path) -> None:
    encoder = dense(bert)
    stream = Dataset.from_dict({"query": ["a"], "positive": [" "]}).to_iterable_dataset()
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"max_steps": 4})
    with pytest.raises(InputError, match="'positive' holds an empty text"):
        DenseTrainer(encoder, arguments, stream, loss=MultipleNegativesRankingLoss(encoder))


class _Unsavable(DenseEncoder):
    def save(self, path: str | Path) -> None:
        raise StorageError("the disk is full")


def test_a_model_that_cannot_be_saved_stops_the_run_before_the_first_step(bert: Path, tmp_path: Path) -> None:
    encoder = _Unsavable(bert, dtype="float32", device="cpu")
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"save_strategy": "epoch"})
    trainer = DenseTrainer(encoder, arguments, triples(8), loss=MultipleNegativesRankingLoss(encoder))
    with pytest.raises(StorageError, match="the disk is full"):
        trainer.train()
    assert trainer.state.global_step == 0 and not list((tmp_path / "run").iterdir())


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


@pytest.mark.parametrize(
    ("rows", "size", "reason"),
    [
        ({"query": ["a"], "positive": ["b"]}, 8, "there is one row"),
        ({"query": ["a"] * 6, "positive": ["b"] * 6}, 8, "all rows have the same text in column 'query'"),
        ({"query": ["a", "b"], "positive": ["c", "c"]}, 8, "all rows have the same text in column 'positive'"),
        ({"query": ["a", "b"], "positive": ["c", "d"]}, 1, "a batch has one row.*or raise the batch size"),
        ({"query": ["a", "b"], "positive": ["c", "d"]}, 2, ""),
        ({"query": ["a"], "positive": ["b"], "negative": ["c"]}, 8, ""),
    ],
)
def test_rows_without_any_negative_are_warned_of(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: Any, size: int, reason: str
) -> None:
    encoder = dense(bert)
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"per_device_train_batch_size": size})
    loss = MatryoshkaLoss(encoder, CachedMultipleNegativesRankingLoss(encoder), [32, 8])
    DenseTrainer(encoder, arguments, Dataset.from_dict(rows), loss=loss)
    assert re.search(reason, caplog.text) if reason else "no row has a negative" not in caplog.text


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


def test_arguments_that_work_on_language_models_only_are_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neftune_noise_alpha does not apply"):
        DenseTrainingArguments(str(tmp_path / "run"), neftune_noise_alpha=5.0, **ARGUMENTS)
    encoder = dense(bert)
    with pytest.raises(InputError, match="eval_on_start needs an eval_dataset or an evaluator"):
        arguments = DenseTrainingArguments(str(tmp_path / "run"), eval_on_start=True, **ARGUMENTS)
        DenseTrainer(encoder, arguments, triples(8), loss=MultipleNegativesRankingLoss(encoder))


def test_a_static_model_has_no_activations_to_recompute(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(write_bert(tmp_path / "bert"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)]).save(str(tmp_path / "static"))
    encoder = dense(tmp_path / "static")
    arguments = DenseTrainingArguments(
        str(tmp_path / "run"), **ARGUMENTS | {"max_steps": 1, "gradient_checkpointing": True}
    )
    trainer = DenseTrainer(encoder, arguments, triples(8), loss=MultipleNegativesRankingLoss(encoder))
    with pytest.raises(InputError, match=r"gradient_checkpointing: .* has no transformer"):
        trainer.train()


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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"query": ["a", "b"], "positive": ["c", None]}, r"row 1 .*'positive'.*None is not text"),
        ({"query": ["a", "b"], "positive": ["c", " \n"]}, r"row 1 .*'positive'.*an empty text"),
        ({"query": ["a", "b"], "positive": ["c", "\ufeff\u200b "]}, r"row 1 .*'positive'.*an empty text"),
        ({"query": ["a"], "positive": ["b"], "negatives": [[]]}, r"row 0 .*'negatives' holds an empty list"),
        ({"query": ["a"], "positive": ["b"], "negatives": [["c", ""]]}, r"row 0 .*'negatives'.*an empty text"),
        ({"query": ["a", "b"]}, "reads 2 or more columns"),
        ({"query": [], "positive": []}, "no rows"),
        ({"query": ["a"], "positive": [["b", "c"]]}, "holds a list"),
        ({"query": ["a"], "dataset_name": ["c"]}, "reserved"),
        ({"score": [1.0]}, "no column except the label"),
        ({"query": ["a", "b"], "positive": ["c", "d"], "label": [1.0, float("nan")]}, "row 1 .*label.*nan"),
    ],
)
def test_bad_data_is_refused_before_the_first_step(bert: Path, tmp_path: Path, rows: Any, message: str) -> None:
    encoder = dense(bert)
    with pytest.raises(InputError, match=message):
        DenseTrainer(
            encoder,
            DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS),
            Dataset.from_dict(rows),
            loss=MultipleNegativesRankingLoss(encoder),
        )


def test_a_loss_that_does_not_fit_is_refused_before_the_first_step(tiny_cross_encoder: Any, tmp_path: Path) -> None:
    arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
    pairs = Dataset.from_dict({"query": ["a", "b"], "document": ["c", "d"]})
    with pytest.raises(InputError, match="needs labels"):
        RerankerTrainer(tiny_cross_encoder, arguments, pairs, loss=BinaryCrossEntropyLoss(tiny_cross_encoder))
    with pytest.raises(InputError, match="needs lists of documents"):
        RerankerTrainer(tiny_cross_encoder, arguments, pairs, loss=ListNetLoss(tiny_cross_encoder))
    with pytest.raises(InputError, match="one prompt"):
        arguments = RerankerTrainingArguments(str(tmp_path / "run"), prompts={"query": "x"}, **ARGUMENTS)
        RerankerTrainer(tiny_cross_encoder, arguments, pairs, loss=BinaryCrossEntropyLoss(tiny_cross_encoder))


def test_an_encoder_of_low_precision_is_refused(bert: Path) -> None:
    with pytest.raises(ModelError, match='dtype="float32"'):
        MultipleNegativesRankingLoss(DenseEncoder(bert, dtype="bfloat16", device="cpu"))
