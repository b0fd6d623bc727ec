"""Evaluators of pairs and triplets of texts give sentence-transformers' figures, keys, primary figure and files."""

import random
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.sentence_transformer import evaluation as their_dense

from evaluating import KINDS, WORDS, assert_same, pick, texts
from indexing.errors import InputError
from pipelines.evaluation import evaluators as ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"similarity_fn_names": ["cosine", "dot", "euclidean", "manhattan"], "name": "sts"}]
)
def test_embedding_similarity(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "EmbeddingSimilarityEvaluator")
    scores = [random.Random(at).random() for at in range(40)]
    both = [one(texts(40, 1), texts(40, 2), scores, **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_embedding_similarity_of_quantised_vectors(models: Any, tmp_path: Path, precision: Any) -> None:
    scores = [random.Random(at).random() for at in range(60)]
    both = [
        one(texts(60, 1), texts(60, 2), scores, precision=precision, main_similarity="cosine")
        for one in (ours.EmbeddingSimilarityEvaluator, their_dense.EmbeddingSimilarityEvaluator)
    ]
    # A value at the edge of two bins may fall into either.
    assert_same(*both, models["dense"], tmp_path, tolerance=5e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"similarity_fn_names": ["cosine", "euclidean"], "name": "quora"}])
def test_binary_classification(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "BinaryClassificationEvaluator")
    first = texts(50, 3)
    second = [one if at % 3 == 0 else other for at, (one, other) in enumerate(zip(first, texts(50, 4), strict=True))]
    labels = [int(at % 3 == 0 or at % 7 == 0) for at in range(50)]
    both = [one(first, second, labels, **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"similarity_fn_names": ["dot", "manhattan"], "margin": {"dot": 0.1}, "name": "nli"}, {"margin": 0.2}],
)
def test_triplets(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "TripletEvaluator")
    both = [one(texts(40, 5), texts(40, 6), texts(40, 7), **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_translation(models: Any, tmp_path: Path, kind: str) -> None:
    mine, theirs = pick(kind, "TranslationEvaluator")
    source = texts(30, 8)
    target = [f"{one} {WORDS[at % 5]}" for at, one in enumerate(source)]
    target[3] = target[4]
    assert_same(mine(source, target, name="en"), theirs(source, target, name="en"), models[kind], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_mse(models: Any, tmp_path: Path, kind: str) -> None:
    mine, theirs = pick(kind, "MSEEvaluator")
    pair = models[kind]
    both = [one(texts(20, 9), texts(20, 10), teacher_model=pair[at]) for at, one in enumerate((mine, theirs))]
    assert_same(*both, pair, tmp_path)


def test_mse_from_dataframe(models: Any, tmp_path: Path) -> None:
    columns = {language: texts(12, 30 + at) for at, language in enumerate(("en", "de", "fr"))}
    columns["de"][3], columns["fr"][5], columns["en"][7] = " ", "", columns["en"][0]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    pair, combinations = models["dense"], [("en", "de"), ("en", "fr"), ("fr", "de")]
    both = [
        module.MSEEvaluatorFromDataFrame(rows, pair[at], combinations, name="parallel", truncate_dim=64)
        for at, module in enumerate((ours, their_dense))
    ]
    assert_same(*both, pair, tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"en": "one"}], "row number 0 .* has no 'de': it has en"),
        ([{"en": "one", "de": " "}], "no row has a sentence in both 'en' and 'de'"),
    ],
)
def test_mse_from_dataframe_needs_sentences(rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours.MSEEvaluatorFromDataFrame(rows, None, [("en", "de")])


def test_paraphrase_mining(models: Any, tmp_path: Path) -> None:
    sentences = {f"s{at}": one for at, one in enumerate(texts(60, 12))}
    sentences |= {f"t{at}": f"{sentences[f's{at}']} again" for at in range(20)}
    duplicates = [(f"s{at}", f"t{at}") for at in range(20)] + [("t1", "s30"), ("s1", "unknown")]
    for options in ({}, {"add_transitive_closure": True}, {"top_k": 3, "max_pairs": 40, "name": "p"}):
        both = [
            one(sentences, duplicates, **options)
            for one in (ours.ParaphraseMiningEvaluator, their_dense.ParaphraseMiningEvaluator)
        ]
        assert_same(*both, models["dense"], tmp_path / str(len(options)) / str(options.get("name")))


def test_sequential(models: Any) -> None:
    pair = models["dense"]
    results = []
    for at, module in enumerate((ours, their_dense)):
        inner = [
            module.TripletEvaluator(texts(10, 1), texts(10, 2), texts(10, 3), name="a"),
            module.EmbeddingSimilarityEvaluator(texts(10, 1), texts(10, 2), list(range(10)), name="b"),
        ]
        kind = ours.SequentialEvaluator if at == 0 else their_dense.SequentialEvaluator
        results.append(kind(inner)(pair[at]))
    assert results[0] == pytest.approx(results[1], abs=1e-5)
