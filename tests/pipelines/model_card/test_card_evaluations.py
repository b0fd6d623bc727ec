"""Evaluators record their metrics in the model card, called by a trainer or directly."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import evaluation as theirs

from checkpoints import write_bert
from pipelines.evaluation import evaluators as ours
from pipelines.model_card import Card
from pipelines.training.arguments import DenseTrainingArguments
from pipelines.training.losses import MultipleNegativesRankingLoss
from pipelines.training.trainer import DenseTrainer
from retrieve.encoders import DenseEncoder

QUERIES = {"q1": "hot water", "q2": "stock market"}
CORPUS = {"d1": "water is heat", "d2": "the market price of a stock", "d3": "light wave", "d4": "fire"}
RIGHT = {"q1": {"d1"}, "q2": {"d2"}}


@pytest.fixture
def encoder(tmp_path: Path) -> DenseEncoder:
    return DenseEncoder(write_bert(tmp_path / "bert"), dtype="float32", device="cpu")


def retrieval(module: Any = ours, name: str = "tiny") -> Any:
    return module.InformationRetrievalEvaluator(QUERIES, CORPUS, RIGHT, name=name)


def trainer_of(encoder: DenseEncoder, folder: Path, **options: Any) -> DenseTrainer:
    rows = Dataset.from_dict({"query": ["hot water", "light"] * 4, "positive": ["water is heat", "a wave"] * 4})
    arguments = DenseTrainingArguments(
        str(folder), per_device_train_batch_size=4, max_steps=3, learning_rate=1e-2, use_cpu=True, report_to=[]
    )
    return DenseTrainer(encoder, arguments, rows, loss=MultipleNegativesRankingLoss(encoder), **options)


def figures(folder: Path) -> dict[tuple[str, str], float]:
    results = ModelCard.load(folder / "README.md").data.eval_results or []
    return {(one.task_name, one.metric_type): one.metric_value for one in results}


def cells(folder: Path, measure: str) -> list[str]:
    line = next(line for line in (folder / "README.md").read_text().splitlines() if line.startswith(f"| {measure} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_figures_of_a_saved_model_are_sentence_transformers(encoder: DenseEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "plain")
    model = SentenceTransformer(str(tmp_path / "plain"), device="cpu")
    for module, one in ((ours, encoder), (theirs, model)):
        module.SequentialEvaluator(
            [retrieval(module), module.TripletEvaluator(["hot"], ["heat"], ["stock"], name="three")]
        )(one)
    encoder.save(tmp_path / "mine")
    model.save_pretrained(str(tmp_path / "theirs"))

    mine, expected = figures(tmp_path / "mine"), figures(tmp_path / "theirs")
    assert len(expected) > 10 and mine.keys() == expected.keys()
    assert mine == pytest.approx(expected, abs=1e-6)
    text = (tmp_path / "mine" / "README.md").read_text()
    assert "| measure | value |" in text and "## Training" not in text and "generated_from_trainer" not in text


def test_a_model_that_nobody_evaluated_has_no_card(encoder: DenseEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "plain")
    assert not (tmp_path / "plain" / "README.md").exists()


def test_a_loop_of_ones_own_names_its_steps(encoder: DenseEncoder, tmp_path: Path) -> None:
    found = retrieval()(encoder, None, 1, 10)
    encoder.save(tmp_path / "mine")
    assert figures(tmp_path / "mine")[("Information Retrieval", "cosine_mrr@10")] == found["tiny_cosine_mrr@10"]


def test_calls_before_and_after_training_stand_beside_each_other(encoder: DenseEncoder, tmp_path: Path) -> None:
    before = ours.EmbeddingSimilarityEvaluator(
        ["hot", "light", "fire"], ["heat", "wave", "cell"], [1, 0.5, 0], name="s"
    )
    first = before(encoder)["s_spearman_cosine"], before(encoder)["s_pearson_cosine"]
    trainer = trainer_of(encoder, tmp_path / "run", card=Card("mine"))
    trainer.train()
    assert cells(trainer.save(tmp_path / "old"), "pearson_cosine") == [f"{first[1]:.4f}"], "found before, nothing after"
    last = before(encoder)["s_pearson_cosine"]

    assert last != pytest.approx(first[1], abs=1e-4)
    assert cells(trainer.save(), "pearson_cosine") == [f"{first[1]:.4f}", f"{last:.4f}"]
    assert figures(tmp_path / "run" / "final")[("Embedding Similarity", "pearson_cosine")] == last
    encoder.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text() == (tmp_path / "run" / "final" / "README.md").read_text()


def test_each_evaluator_of_a_sequence_has_its_table(encoder: DenseEncoder, tmp_path: Path) -> None:
    def share(model: Any, output_path: str, epoch: float, steps: int) -> float:
        return 0.25

    trainer = trainer_of(
        encoder, tmp_path / "run", evaluator=[ours.SequentialEvaluator([retrieval(), retrieval(name="two")]), share]
    )
    trainer.train()
    logged = trainer.evaluate()
    found = figures(trainer.save())
    assert found[("share", "evaluator")] == 0.25
    text = (tmp_path / "run" / "final" / "README.md").read_text()
    assert text.count("### Information Retrieval") == 2 and "### Sequential" not in text
    assert found[("Information Retrieval", "cosine_map@100")] == logged["eval_two_cosine_map@100"]


def test_a_retriever_needs_no_card() -> None:
    from indexing.hits import Hits

    class Finds:
        name = "words"

        def search(self, asked: list[str], k: int) -> Hits:
            return Hits.from_run(
                {str(row): {"d1": 1.0} for row in range(len(asked))}, [str(r) for r in range(len(asked))]
            )

    assert retrieval()(Finds())["tiny_words_accuracy@1"] == 0.5
