import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from huggingface_hub import ModelCard
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from transformers import BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert
from pipelines.evaluation.evaluators import InformationRetrievalEvaluator
from pipelines.model_card import Card, EvaluationTable, write_card
from pipelines.model_card.log import LogTable
from pipelines.model_card.markdown import shown, table
from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments, SparseTrainingArguments
from pipelines.training.losses import MatryoshkaLoss, MultipleNegativesRankingLoss, SpladeLoss
from pipelines.training.losses.cross import LambdaLoss
from pipelines.training.trainer import DenseTrainer, RerankerTrainer, SparseTrainer
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "logging_steps": 2,
    "max_steps": 6,
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
}
QUERIES = {"q1": "hot water", "q2": "stock market"}
CORPUS = {"d1": "water is heat", "d2": "the market price of a stock", "d3": "light wave", "d4": "fire"}
RIGHT = {"q1": {"d1"}, "q2": {"d2"}}
EVIL = "a | b\n<script>alert(1)</script> `code` *bold* [link](http://x) ---"


def rows() -> Dataset:
    pairs = [("hot water", "water is heat"), ("stock market", EVIL), ("light", "a wave of light"), ("fire", "heat")]
    return Dataset.from_dict({"query": [q for q, _ in pairs] * 3, "positive": [p for _, p in pairs] * 3})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[DenseTrainer, Path]:
    folder = tmp_path_factory.mktemp("card")
    encoder = DenseEncoder(write_bert(folder / "bert"), dtype="float32", device="cpu")
    arguments = ARGUMENTS | {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "eval_on_start": True,
        "save_strategy": "steps",
        "save_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_tiny_cosine_ndcg@10",
    }
    trainer = DenseTrainer(
        encoder,
        DenseTrainingArguments(str(folder / "run"), **arguments),
        rows(),
        rows().select(range(3)),
        loss=MatryoshkaLoss(encoder, MultipleNegativesRankingLoss(encoder), [32, 8]),
        evaluator=InformationRetrievalEvaluator(QUERIES, CORPUS, RIGHT, name="tiny"),
        card=Card("tiny-model", base_model="someone/a-model", datasets=["someone/data"], language="en", license="mit"),
    )
    trainer.train()
    return trainer, trainer.save()


def test_the_card_is_one_that_the_hub_reads(trained: tuple[DenseTrainer, Path]) -> None:
    trainer, folder = trained
    text = (folder / "README.md").read_text("utf-8")
    matter = yaml.safe_load(text.split("---\n")[1])
    assert matter["base_model"] == "someone/a-model" and matter["library_name"] == "sentence-transformers"
    assert {"sentence-transformers", "dense", "dataset_size:12", "loss:MatryoshkaLoss"} <= set(matter["tags"])
    card = ModelCard.load(folder / "README.md")
    assert card.data.datasets == ["someone/data"] and card.data.pipeline_tag == "sentence-similarity"
    # The model index has the figures of the log at the saved step.
    best = int(str(trainer.state.best_model_checkpoint).rpartition("-")[2])
    logged = next(e for e in trainer.state.log_history if e["step"] == best and "eval_tiny_cosine_ndcg@10" in e)
    indexed = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert indexed["cosine_ndcg@10"] == logged["eval_tiny_cosine_ndcg@10"]
    assert indexed["cosine_map@100"] == logged["eval_tiny_cosine_map@100"]


def test_before_and_after_stand_beside_each_other_and_the_best_row_is_bold(trained: tuple[DenseTrainer, Path]) -> None:
    trainer, folder = trained
    text = (folder / "README.md").read_text("utf-8")
    found = [entry for entry in trainer.state.log_history if "eval_tiny_cosine_ndcg@10" in entry]
    best = int(str(trainer.state.best_model_checkpoint).rpartition("-")[2])
    before, after = found[0], next(e for e in found if e["step"] == best)
    line = next(line for line in text.splitlines() if line.startswith("| cosine_ndcg@10 "))
    assert [float(cell) for cell in line.split("|")[2:4]] == pytest.approx(
        [before["eval_tiny_cosine_ndcg@10"], after["eval_tiny_cosine_ndcg@10"]], abs=1e-4
    )
    bold = [line for line in text.splitlines() if line.startswith("| **")]
    assert len(bold) == 1 and f"**{best}**" in bold[0]
    assert (
        f"{after['eval_tiny_cosine_ndcg@10']:.4f}" in bold[0]
        or f"**{after['eval_tiny_cosine_ndcg@10']:.0f}**" in bold[0]
    )


def test_the_card_says_what_was_trained_how_and_on_what(trained: tuple[DenseTrainer, Path]) -> None:
    text = (trained[1] / "README.md").read_text("utf-8")
    assert "* Size: 12 rows" in text and "* Size: 3 rows" in text
    assert '"matryoshka_dims": [\n        32,\n        8\n    ]' in text
    assert "- learning_rate: 0.001" in text.partition("<details>")[0]
    assert "- weight_decay: 0.0" not in text.partition("<details>")[0]
    assert "- weight_decay: 0.0" in text.partition("<details>")[2]
    assert "kusupati" in text and "henderson" in text
    assert str(trained[1].parent) not in text, "no path of this machine"


def test_texts_of_others_are_shown_and_not_obeyed(trained: tuple[DenseTrainer, Path]) -> None:
    text = (trained[1] / "README.md").read_text("utf-8")
    assert "<script>" not in text and "[link]" not in text
    line = next(line for line in text.splitlines() if "&lt;script&gt;" in line)
    assert line.count("|") == 3


@pytest.mark.parametrize("cell", [EVIL, "|", "a\\|b", "`" * 3, "x" * 1000])
def test_a_cell_is_one_cell(cell: str) -> None:
    lines = table(["a", "b"], [[shown(cell), "1"]]).splitlines()
    assert len(lines) == 3 and len(re.findall(r"\|", lines[2])) == 3 and len(lines[2]) < 1000


def test_a_card_written_by_hand_stays(trained: tuple[DenseTrainer, Path], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine")
    write_card(tmp_path, Card(), trained[0].encoder)
    assert (tmp_path / "README.md").read_text() == "# Mine"


def test_checkpoints_have_a_card_of_their_own_step(trained: tuple[DenseTrainer, Path]) -> None:
    trainer, folder = trained
    card = ModelCard.load(folder.parent / "checkpoint-4" / "README.md")
    logged = next(e for e in trainer.state.log_history if e["step"] == 4 and "eval_tiny_cosine_ndcg@10" in e)
    indexed = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert indexed["cosine_ndcg@10"] == logged["eval_tiny_cosine_ndcg@10"]


def test_long_logs_are_thinned_out_but_not_their_evaluations() -> None:
    history: list[dict[str, Any]] = [{"step": at, "epoch": 0.1, "loss": 1.0} for at in range(1, 1001)]
    history += [{"step": at, "epoch": 0.1, "eval_ndcg": 0.5, "eval_runtime": 3.0} for at in (7, 501)]
    shown_rows = LogTable.of(history, [], None)
    assert shown_rows.columns == ["loss", "eval_ndcg"]
    assert len(shown_rows.rows) < 110 and {7, 501} <= {row["step"] for row in shown_rows.rows}


def test_sentence_transformers_loads_dense(trained: tuple[DenseTrainer, Path]) -> None:
    import numpy as np

    theirs = SentenceTransformer(str(trained[1]), device="cpu")
    np.testing.assert_allclose(
        theirs.encode(["hot water"]), trained[0].encoder.encode(["hot water"]), rtol=1e-4, atol=1e-5
    )


def test_sparse_and_cross_encoders_have_cards_and_load_elsewhere(tmp_path: Path) -> None:
    sparse = SparseEncoder(write_bert(tmp_path / "mlm", BertForMaskedLM), dtype="float32", device="cpu")
    loss = SpladeLoss(sparse, MultipleNegativesRankingLoss(sparse, 1.0, "dot"), 3e-2, 5e-2)
    trainer: Any = SparseTrainer(sparse, SparseTrainingArguments(str(tmp_path / "s"), **ARGUMENTS), rows(), loss=loss)
    trainer.train()
    text = (trainer.save() / "README.md").read_text("utf-8")
    assert "Lucene" in text and "paria" in text and "formal" in text
    assert TheirSparseEncoder(str(tmp_path / "s" / "final"), device="cpu").encode(["hot water"]).shape[1] > 32
    cross = CrossEncoder(
        write_bert(tmp_path / "bert", BertForSequenceClassification, num_labels=1), dtype="float32", device="cpu"
    )
    lists = Dataset.from_dict(
        {"query": ["hot water"] * 8, "documents": [["water is heat", EVIL]] * 8, "labels": [[1, 0]] * 8}
    )
    table_of_stages = EvaluationTable("Reranking", {"nDCG@10": {"first stage": 0.5, "after": 0.625}}, "tiny", "a note")
    trainer = RerankerTrainer(
        cross,
        RerankerTrainingArguments(str(tmp_path / "c"), **ARGUMENTS),
        lists,
        loss=LambdaLoss(cross),
        card=Card("tiny-reranker", tables=[table_of_stages]),
    )
    trainer.train()
    folder = trainer.save()
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "text-ranking" and card.data.eval_results[0].metric_value == 0.625
    assert "model.rank(" in card.text and "list of texts" in card.text and "wang-2018" in card.text
    assert len(TheirCrossEncoder(str(folder), device="cpu").predict([("hot water", "heat")])) == 1
