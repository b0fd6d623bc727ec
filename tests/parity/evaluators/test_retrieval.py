"""Evaluators of search and reranking give sentence-transformers' figures, keys, primary figure and files."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import evaluation as their_dense
from sentence_transformers.sparse_encoder import evaluation as their_sparse

from evaluating import KINDS, assert_same, pick, text, texts
from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.evaluation import evaluators as ours
from retrieve.encoders import DenseEncoder


def retrieval_data() -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    draw = random.Random(1)
    corpus = {f"d{at}": text(draw) for at in range(80)}
    corpus |= {f"copy{at}": corpus[f"d{at}"] for at in range(10)}
    queries = {f"q{at}": text(draw) for at in range(20)}
    relevant = {f"q{at}": {draw.choice(list(corpus)) for _ in range(1 + at % 4)} for at in range(18)} | {"q18": set()}
    relevant["q0"].add("not there")
    return queries, corpus, relevant


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"name": "set", "ndcg_at_k": [3, 10], "query_prompt": "find: "}])
def test_information_retrieval(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "InformationRetrievalEvaluator")
    data = retrieval_data()
    both = [one(*data, write_predictions=True, **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)
    (predictions,) = (tmp_path / "theirs").glob("*predictions*")
    expected = [json.loads(line) for line in predictions.read_text().splitlines()]
    found = [json.loads(line) for line in (tmp_path / "mine" / predictions.name).read_text().splitlines()]
    for line, wanted in zip(found, expected, strict=True):
        assert (line["query_id"], line["query"]) == (wanted["query_id"], wanted["query"])
        mine_scores = [hit["score"] for hit in line["results"]]
        np.testing.assert_allclose(mine_scores, [hit["score"] for hit in wanted["results"]], atol=1e-4)
        assert {h["corpus_id"] for h in line["results"][:20]} == {h["corpus_id"] for h in wanted["results"][:20]}


def test_information_retrieval_truncated_and_by_given_functions(models: Any, tmp_path: Path) -> None:
    from sentence_transformers.util import cos_sim, dot_score, euclidean_sim

    data = retrieval_data()
    options: dict[str, Any] = {
        "truncate_dim": 48,
        "score_functions": {"dot": dot_score, "cos": cos_sim, "far": euclidean_sim},
    }
    both = [
        one(*data, **options) for one in (ours.InformationRetrievalEvaluator, their_dense.InformationRetrievalEvaluator)
    ]
    assert_same(*both, models["dense"], tmp_path)


def test_information_retrieval_of_a_retriever(models: Any) -> None:
    queries, corpus, relevant = retrieval_data()
    evaluator = ours.InformationRetrievalEvaluator(queries, corpus, relevant)
    encoder = models["dense"][0]
    expected = evaluator(encoder)

    class Finds:
        name = "cosine"

        def search(self, asked: list[str], k: int) -> Hits:
            asking, found = (torch.from_numpy(encoder.encode(some)) for some in (asked, list(corpus.values())))
            scores = asking @ found.T  # The evaluator's product: numpy's may score copies apart.
            run = {str(row): dict(zip(corpus, scores[row].tolist(), strict=True)) for row in range(len(asked))}
            return Hits.from_run(run, list(run)).top(k)

    assert evaluator(Finds()) == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_reranking(models: Any, tmp_path: Path, kind: str) -> None:
    mine, theirs = pick(kind, "RerankingEvaluator")
    draw = random.Random(11)
    samples = [
        {"query": text(draw), "positive": texts(1 + at % 3, at), "negative": texts(5, 100 + at)} for at in range(12)
    ]
    samples.append({"query": "alone", "positive": "one text", "negative": []})
    both = [one(samples, at_k=4, name="r") for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


def test_reciprocal_rank_fusion(tmp_path: Path) -> None:
    draw = random.Random(18)
    dense, sparse = [], []
    for at in range(15):
        pool = [f"text {number}" for number in range(30)]
        told = {"query_id": str(at), "query": f"query {at}", "positive": draw.sample(pool, 1 + at % 3)}
        dense.append(told | {"documents": draw.sample(pool, 12)})
        sparse.append(told | {"documents": draw.sample(pool, 8)})
    both = [
        one(dense, sparse, at_k=5, name="f", write_predictions=True)
        for one in (ours.ReciprocalRankFusionEvaluator, their_sparse.ReciprocalRankFusionEvaluator)
    ]
    assert_same(*both, None, tmp_path)
    (predictions,) = (tmp_path / "theirs").glob("*predictions*")
    assert (tmp_path / "mine" / predictions.name).read_text() == predictions.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_evaluators_of_one_corpus_encode_it_once(models: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, data, read = models[kind][0], retrieval_data(), []
    dense = kind == "dense"
    limits: list[dict[str, Any]] = [{"truncate_dim": width} for width in (None, 128, 32)] if dense else [{}, {}, {}]
    evaluators = [ours.InformationRetrievalEvaluator(*data, name=f"at{at}", **limit) for at, limit in enumerate(limits)]
    apart = {key: value for one in evaluators for key, value in one(encoder).items()}
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda texts, **options: read.append(len(texts)) or encode(texts, **options))

    together = ours.SequentialEvaluator(evaluators)(encoder)

    assert read == [18, 90], "the judged queries and the corpus, once each"
    assert {key: together[key] for key in apart} == pytest.approx(apart, abs=1e-6)
    evaluators[0](encoder)
    assert read == [18, 90] * 2, "what one call shares another does not"


def test_other_prompts_or_wider_vectors_are_not_shared(minilm_path: Any) -> None:
    encoder = DenseEncoder(minilm_path, dtype="float32", device="cpu", truncate_dim=16)
    data = retrieval_data()
    different: list[dict[str, Any]] = [{}, {"query_prompt": "find the stock: "}, {"truncate_dim": 64}]
    several = [
        ours.InformationRetrievalEvaluator(*data, name=f"at{at}", **options) for at, options in enumerate(different)
    ]
    apart = {key: value for one in several for key, value in one(encoder).items()}
    together = ours.SequentialEvaluator(several)(encoder)
    assert {key: together[key] for key in apart} == pytest.approx(apart, abs=1e-6)
    assert len({together[f"at{at}_cosine_ndcg@10"] for at in range(3)}) == 3


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_an_empty_corpus_scores_zero(models: Any, kind: str) -> None:
    found = ours.InformationRetrievalEvaluator({"q1": "hot water"}, {}, {"q1": {"d1"}})(models[kind][0])
    assert "ndcg@10" in str(list(found)) and not [name for name, value in found.items() if "@" in name and value]
    assert all(np.isfinite(value) for value in found.values())
    if kind == "dense":
        theirs = their_dense.InformationRetrievalEvaluator({"q1": "hot water"}, {}, {"q1": {"d1"}})(models[kind][1])
        assert found == theirs


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "10", None])
def test_a_cutoff_below_one_or_no_whole_number_is_refused(wrong: Any) -> None:
    for name in ("mrr_at_k", "ndcg_at_k", "accuracy_at_k", "precision_recall_at_k", "map_at_k"):
        with pytest.raises(InputError, match=f"{name}: a cutoff must be a whole number of at least 1"):
            ours.InformationRetrievalEvaluator({"q": "a"}, {"d": "b"}, {"q": {"d"}}, **{name: [5, wrong]})
        with pytest.raises(InputError, match=f"{name}: a cutoff"):
            ours.NanoBEIREvaluator(["msmarco"], **{name: [wrong]})
    samples = [{"query": "a", "positive": ["b"], "negative": ["c"]}]
    for make in (ours.RerankingEvaluator, ours.CrossEncoderRerankingEvaluator):
        with pytest.raises(InputError, match="at_k: a cutoff"):
            make(samples, at_k=wrong)
    with pytest.raises(InputError, match=r"relevant_docs\['q'\] must be a set of ids, not the single text 'd1'"):
        ours.InformationRetrievalEvaluator({"q": "a"}, {"d1": "b"}, {"q": "d1"})
    with pytest.raises(InputError, match="ndcg_at_k is empty"):
        ours.InformationRetrievalEvaluator({"q": "a"}, {"d": "b"}, {"q": {"d"}}, ndcg_at_k=[])
