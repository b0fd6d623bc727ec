"""Mining gives sentence-transformers' rows: every option and output format."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives as theirs
from transformers import BertForSequenceClassification

from checkpoints import write_bert
from pipelines.mining.mine_hard_negatives import mine_hard_negatives
from retrieve.encoders import CrossEncoder, DenseEncoder

WORDS = ["water", "fire", "heat", "light", "wave", "cell", "energy", "stock", "market", "price", "vaccine"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    dense = str(write_bert(folder / "dense"))
    cross = str(write_bert(folder / "cross", BertForSequenceClassification, num_labels=1))
    return {
        "theirs": SentenceTransformer(dense, device="cpu"),
        "mine": DenseEncoder(dense, dtype="float32", device="cpu"),
        "their cross": TheirCrossEncoder(cross, device="cpu"),
        "my cross": CrossEncoder(cross, dtype="float32", device="cpu"),
    }


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(2, 9)))


def data(seed: int = 0, rows: int = 60) -> tuple[Dataset, list[str]]:
    """Rows with repeated queries, several positives, repeated rows; and a corpus with duplicates and positives."""
    draw = random.Random(seed)
    queries = [text(draw) for _ in range(rows // 2)]
    anchors = [draw.choice(queries) for _ in range(rows)]
    positives = [f"{anchor} {draw.choice(WORDS)} {number % 7}" for number, anchor in enumerate(anchors)]
    anchors += anchors[:3]
    positives += positives[:3]
    corpus = [text(draw) for _ in range(150)]
    return Dataset.from_dict({"question": anchors, "answer": positives}), [*corpus, *corpus[:20], *positives[:5]]


def both(models: dict[str, Any], corpus: list[str] | None, dataset: Dataset, **options: Any) -> tuple[Any, Any]:
    own, other = dict(options), dict(options)
    if options.get("cross_encoder"):
        own["cross_encoder"], other["cross_encoder"] = models["my cross"], models["their cross"]
    random.seed(11)
    expected = theirs(dataset, models["theirs"], corpus=corpus, verbose=False, **other)
    found = mine_hard_negatives(dataset, models["mine"], corpus=corpus, verbose=False, seed=11, **own)
    return found, expected


def assert_same(found: Any, expected: Any) -> None:
    assert found.column_names == expected.column_names
    assert len(found) == len(expected)
    for column in expected.column_names:
        if column in ("scores", "score"):
            mine, other = list(found[column]), list(expected[column])
            assert [np.size(row) for row in mine] == [np.size(row) for row in other]
            np.testing.assert_allclose(np.hstack(mine), np.hstack(other), atol=1e-5)
        else:
            assert list(found[column]) == list(expected[column]), column


FORMATS = ["triplet", "n-tuple", "labeled-pair", "labeled-list"]
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a range": {"range_min": 4, "range_max": 20},
    "few left": {"range_min": 2, "range_max": 8, "num_negatives": 6},
    "absolute margin": {"absolute_margin": 0.05},
    "relative margin": {"relative_margin": 0.02, "num_negatives": 5},
    "negative margin": {"absolute_margin": -0.02},
    "scores": {"max_score": 0.93, "min_score": 0.5},
    "all of them": {
        "relative_margin": 0.01,
        "absolute_margin": 0.01,
        "max_score": 0.97,
        "min_score": 0.3,
        "range_min": 1,
    },
    "random": {"sampling_strategy": "random", "range_max": 30},
    "random of few": {"sampling_strategy": "random", "relative_margin": 0.05, "num_negatives": 4},
    "prompts": {"query_prompt": "find: ", "corpus_prompt": "text: ", "relative_margin": 0.02},
    "cross-encoder": {"cross_encoder": True, "relative_margin": 0.05},
    "cross-encoder, random": {"cross_encoder": True, "max_score": 0.6, "sampling_strategy": "random"},
    "cross-encoder, least score": {"cross_encoder": True, "min_score": 0.4},
    "cross-encoder without a limit": {"cross_encoder": True},
}


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("shape", FORMATS)
@pytest.mark.parametrize("name", OPTIONS)
def test_rows(models: dict[str, Any], name: str, shape: str, scores: bool) -> None:
    dataset, corpus = data()
    found, expected = both(models, corpus, dataset, output_format=shape, output_scores=scores, **OPTIONS[name])
    assert len(expected)
    assert_same(found, expected)


@pytest.mark.parametrize("corpus", [False, True])
def test_positives_may_stay_in_the_ranking(models: dict[str, Any], corpus: bool) -> None:
    dataset, texts = data(3)
    found, expected = both(models, texts if corpus else None, dataset, include_positives=True, output_scores=True)
    assert_same(found, expected)


def test_a_corpus_smaller_than_what_is_asked_for(models: dict[str, Any]) -> None:
    dataset, _ = data(4, rows=8)
    for shape in FORMATS:
        found, expected = both(models, None, dataset, output_format=shape, num_negatives=20)
        assert_same(found, expected)


def test_the_last_column_names_decide(models: dict[str, Any]) -> None:
    dataset, corpus = data(5)
    dataset = dataset.add_column("id", [str(at) for at in range(len(dataset))])
    options = {"anchor_column_name": "answer", "positive_column_name": "question"}
    assert_same(*both(models, corpus, dataset, **options))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
