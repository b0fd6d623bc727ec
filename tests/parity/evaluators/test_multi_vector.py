"""Evaluators of multi-vector encoders give sentence-transformers' figures, keys, primary figure and files."""

import json
import random
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder import evaluation as their_evaluators
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.util.similarity import maxsim, maxsim_pairwise

from checkpoints import write_bert
from evaluating import assert_same, text, texts
from indexing.errors import InputError
from pipelines.evaluation import evaluators as ours
from retrieve import MultiVectorEncoder


@pytest.fixture(scope="module", params=["maxsim", "meanmaxsim"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("multi-vector")
    torch.manual_seed(3)
    modules = [
        Transformer(str(write_bert(folder / "bert")), query_expansion={"strategy": "fixed", "length": 12}),
        Dense(32, 16, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
        MultiVectorMask([*string.punctuation, "the"]),
        Normalize(module_input_name="token_embeddings"),
    ]
    prompts = {"query": "a ", "document": "of "}
    saved = theirs.MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts, similarity_fn_name=request.param)
    saved.save(str(folder / "model"))
    model = folder / "model"
    return (
        MultiVectorEncoder(model, dtype="float32", device="cpu"),
        theirs.MultiVectorEncoder(str(model), device="cpu"),
    )


def both(evaluator: str, *data: Any, **options: Any) -> tuple[Any, Any]:
    mine, other = (getattr(module, f"MultiVector{evaluator}") for module in (ours, their_evaluators))
    return mine(*data, **options), other(*data, **options)


def retrieval_data() -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    draw = random.Random(1)
    corpus = {f"d{at}": text(draw) for at in range(60)}
    corpus |= {f"copy{at}": corpus[f"d{at}"] for at in range(10)} | {"skipped": "the"}
    queries = {f"q{at}": text(draw) for at in range(12)}
    return queries, corpus, {f"q{at}": {draw.choice(list(corpus)) for _ in range(1 + at % 4)} for at in range(12)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "set", "corpus_chunk_size": 13, "ndcg_at_k": [3, 10]},
        {"score_functions": {"other": maxsim}, "query_prompt": "fire "},
    ],
)
def test_information_retrieval(pair: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    evaluators = both("InformationRetrievalEvaluator", *retrieval_data(), write_predictions=True, **options)
    assert_same(*evaluators, pair, tmp_path, tolerance=1e-5)
    (predictions,) = (tmp_path / "theirs").glob("*predictions*")
    expected = [json.loads(line) for line in predictions.read_text().splitlines()]
    found = [json.loads(line) for line in (tmp_path / "mine" / predictions.name).read_text().splitlines()]
    for line, wanted in zip(found, expected, strict=True):
        scores = [[hit["score"] for hit in one["results"]] for one in (line, wanted)]
        np.testing.assert_allclose(*scores, rtol=1e-5)


def test_nanobeir(pair: Any, nanobeir: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "dataset_names": ["scifact", "nfcorpus"],
        "dataset_id": str(nanobeir),
        "query_prompts": {"scifact": "heat ", "nfcorpus": "stock "},
        "corpus_chunk_size": 25,
    }
    assert_same(*both("NanoBEIREvaluator", **options), pair, tmp_path, tolerance=1e-5)


def test_reranking(pair: Any, tmp_path: Path) -> None:
    draw = random.Random(11)
    samples = [
        {"query": text(draw), "positive": texts(1 + at % 3, at), "negative": texts(5, 100 + at)} for at in range(12)
    ]
    assert_same(*both("RerankingEvaluator", samples, at_k=4, name="r"), pair, tmp_path, tolerance=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "t", "margin": 0.5},
        {"margin": {"maxsim": 0.5, "meanmaxsim": 0.05}, "similarity_fn_names": ["maxsim", "meanmaxsim"]},
    ],
)
def test_triplets(pair: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    data = (texts(20, 1), texts(20, 2), texts(20, 3))
    assert_same(*both("TripletEvaluator", *data, **options), pair, tmp_path, tolerance=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"name": "k", "temperature": 0.5}, {"student_temperature": 2.0, "similarity_fct": maxsim_pairwise}]
)
@pytest.mark.parametrize("ways", [0, 4])
def test_distillation(pair: Any, tmp_path: Path, options: dict[str, Any], ways: int) -> None:
    draw = np.random.default_rng(2)
    queries = texts(10, 1)
    documents: Any = [texts(ways, 20 + at) for at in range(10)] if ways else texts(10, 2)
    scores = draw.random((10, ways) if ways else 10).tolist()
    if ways:
        scores[3] = [0.5] * ways
    assert_same(*both("DistillationEvaluator", queries, documents, scores, **options), pair, tmp_path, tolerance=1e-5)


def test_wrong_arguments_are_refused() -> None:
    data = ({"q": "a"}, {"d": "b"}, {"q": {"d"}})
    with pytest.raises(InputError, match="truncate_dim does not apply to token vectors"):
        ours.MultiVectorInformationRetrievalEvaluator(*data, truncate_dim=3)
    with pytest.raises(InputError, match="chunk_elements bounds the model's own scores"):
        ours.MultiVectorInformationRetrievalEvaluator(*data, chunk_elements=3, score_functions={"one": maxsim})
    with pytest.raises(InputError, match="all queries must have the same number of candidates"):
        ours.MultiVectorDistillationEvaluator(["a", "b"], [["c", "d"], ["e"]], [[1, 2], [3]])
    with pytest.raises(InputError, match=r"scores must have the shape of the documents, \(1, 2\), not \(1,\)"):
        ours.MultiVectorDistillationEvaluator(["a"], [["c", "d"]], [1.0])
    with pytest.raises(InputError, match="unknown similarity 'cosine': there are maxsim, meanmaxsim"):
        ours.MultiVectorTripletEvaluator(["a"], ["b"], ["c"], margin={"cosine": 1})
