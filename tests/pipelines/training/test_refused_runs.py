"""Runs that cannot go well are refused, or warned of, before the first step."""

import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from checkpoints import write_bert
from indexing.errors import InputError, ModelError, StorageError
from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments
from pipelines.training.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from pipelines.training.losses.cross import BinaryCrossEntropyLoss, ListNetLoss
from pipelines.training.trainer import DenseTrainer, RerankerTrainer
from retrieve.encoders import CrossEncoder, DenseEncoder
from training_runs import ARGUMENTS, dense, triples


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


def test_a_loss_that_does_not_fit_is_refused_before_the_first_step(cross_encoder: CrossEncoder, tmp_path: Path) -> None:
    arguments = RerankerTrainingArguments(str(tmp_path / "run"), **ARGUMENTS)
    pairs = Dataset.from_dict({"query": ["a", "b"], "document": ["c", "d"]})
    with pytest.raises(InputError, match="needs labels"):
        RerankerTrainer(cross_encoder, arguments, pairs, loss=BinaryCrossEntropyLoss(cross_encoder))
    with pytest.raises(InputError, match="needs lists of documents"):
        RerankerTrainer(cross_encoder, arguments, pairs, loss=ListNetLoss(cross_encoder))
    with pytest.raises(InputError, match="one prompt"):
        arguments = RerankerTrainingArguments(str(tmp_path / "run"), prompts={"query": "x"}, **ARGUMENTS)
        RerankerTrainer(cross_encoder, arguments, pairs, loss=BinaryCrossEntropyLoss(cross_encoder))


def test_an_encoder_of_low_precision_is_refused(bert: Path) -> None:
    with pytest.raises(ModelError, match='dtype="float32"'):
        MultipleNegativesRankingLoss(DenseEncoder(bert, dtype="bfloat16", device="cpu"))
