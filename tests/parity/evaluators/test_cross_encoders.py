"""Evaluators of cross-encoders give sentence-transformers' figures, keys, primary figure and files."""

import random
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.cross_encoder import evaluation as their_cross

from evaluating import assert_same, text, texts
from pipelines.evaluation import evaluators as ours


def test_cross_encoder_classification(models: Any, tmp_path: Path) -> None:
    pairs = list(map(list, zip(texts(40, 13), texts(40, 14), strict=True)))
    for kind, labels in (("cross", [at % 2 for at in range(40)]), ("classes", [at % 3 for at in range(40)])):
        both = [
            one(pairs, labels, name=kind)
            for one in (ours.CrossEncoderClassificationEvaluator, their_cross.CrossEncoderClassificationEvaluator)
        ]
        assert_same(*both, models[kind], tmp_path)


def test_cross_encoder_correlation(models: Any, tmp_path: Path) -> None:
    pairs = list(map(list, zip(texts(40, 15), texts(40, 16), strict=True)))
    scores = [random.Random(at).random() for at in range(40)]
    both = [
        one(pairs, scores)
        for one in (ours.CrossEncoderCorrelationEvaluator, their_cross.CrossEncoderCorrelationEvaluator)
    ]
    assert_same(*both, models["cross"], tmp_path)


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("key", ["negative", "documents"])
def test_cross_encoder_reranking(models: Any, tmp_path: Path, key: str, always: bool) -> None:
    draw = random.Random(17)
    samples = []
    for at in range(12):
        positive = texts(1 + at % 2, 40 + at)
        others = texts(6, 200 + at)
        if key == "documents" and at % 3:
            others.insert(at % 5, positive[0])
        samples.append({"query": text(draw), "positive": positive, key: others})
    both = [
        one(samples, at_k=4, always_rerank_positives=always, name="x")
        for one in (ours.CrossEncoderRerankingEvaluator, their_cross.CrossEncoderRerankingEvaluator)
    ]
    assert_same(*both, models["cross"], tmp_path)
