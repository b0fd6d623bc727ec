"""The models of a service, called by the real clients of OpenAI, Cohere, Hugging Face, and as Jina and TEI are."""

import asyncio
import base64

import httpx
import numpy as np
import pytest

from pipelines.service.config import ServeConfig
from service_tests import serving

TEXTS = ["A matrix of singular values.", "Bread with yeast — gebacken.", "東京"]


@pytest.fixture(scope="module")
def models(shared_collection, model_entries):
    with serving(ServeConfig(models=model_entries).with_collections([str(shared_collection)])) as (url, service):
        yield url, service


@pytest.fixture(scope="module")
def url(models):
    return models[0]


@pytest.fixture(scope="module")
def encoder(models):
    return models[1].served_models.find(None, "dense").encoder


@pytest.fixture(scope="module")
def dense_name(models):
    return models[1].served_models.find(None, "dense").name


def close(given, expected):
    np.testing.assert_allclose(np.asarray(given), expected, atol=2e-6)


def test_openai_client_gets_the_vectors_of_encode(url, encoder, dense_name):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    default = client.embeddings.create(model=dense_name, input=TEXTS)
    plain = client.embeddings.create(model=dense_name, input=TEXTS[0], encoding_format="float")
    encoded = client.embeddings.create(model=dense_name, input=TEXTS, encoding_format="base64")
    short = client.embeddings.create(model=dense_name, input=TEXTS, dimensions=64)

    expected = encoder.encode(TEXTS)
    close([row.embedding for row in default.data], expected)
    assert [row.index for row in default.data] == [0, 1, 2] and default.usage.prompt_tokens > 15
    close(plain.data[0].embedding, encoder.encode(TEXTS[0]))
    close([np.frombuffer(base64.b64decode(row.embedding), "<f4") for row in encoded.data], expected)
    close([row.embedding for row in short.data], encoder.encode(TEXTS, truncate_dim=64, normalize=True))
    assert {model.id for model in client.models.list()} == {dense_name, "splade", "cross", "late-interaction"}


def test_openai_client_gets_its_errors(url, dense_name):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    with pytest.raises(openai.NotFoundError, match="gpt"):
        client.embeddings.create(model="gpt", input="x")
    for wrong in ([], "", ["a", ""], [[1, 2]], [3]):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=dense_name, input=wrong)
    with pytest.raises(openai.BadRequestError, match="384"):
        client.embeddings.create(model=dense_name, input="x", dimensions=1000)


def test_cohere_client_gets_a_ranking(url, tiny_cross_encoder):
    cohere = pytest.importorskip("cohere")
    client = cohere.ClientV2("key", base_url=url)

    answer = client.rerank(model="cross", query="baking", documents=TEXTS, top_n=2)

    raw = _logits(tiny_cross_encoder, "baking", TEXTS)
    best = np.argsort(-raw, kind="stable")[:2]
    assert [result.index for result in answer.results] == best.tolist()
    close([result.relevance_score for result in answer.results], 1 / (1 + np.exp(-raw[best])))
    with pytest.raises(cohere.core.ApiError) as error:
        client.rerank(model="other", query="q", documents=["d"])
    assert error.value.status_code == 404 and "cross" in error.value.body["message"]


def test_hugging_face_client_gets_vectors_and_similarities(url, encoder, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    many = hub.InferenceClient(model=f"{url}/embed").feature_extraction(TEXTS)
    one = hub.InferenceClient(base_url=url).feature_extraction(TEXTS[0], normalize=True, truncate=True)
    cosines = hub.InferenceClient(model=f"{url}/similarity").sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])

    vectors = encoder.encode(TEXTS, normalize=True)
    close(many, vectors)
    close(np.reshape(one, -1), vectors[0])
    close(cosines, vectors[1:] @ vectors[0])


def test_term_weights_are_those_of_the_encoder(url, tiny_splade):
    rows = httpx.post(f"{url}/embed_sparse", json={"inputs": TEXTS}, timeout=60).json()

    expected = tiny_splade.encode_document(TEXTS)
    for row, weights in zip(rows, expected, strict=True):
        assert [entry["index"] for entry in row] == weights.indices.tolist()
        close([entry["value"] for entry in row], weights.data)


def test_tei_and_jina_rerank_share_a_route(url, tiny_cross_encoder):
    raw = _logits(tiny_cross_encoder, "baking", TEXTS)
    best = np.argsort(-raw, kind="stable")

    tei = httpx.post(f"{url}/rerank", json={"query": "baking", "texts": TEXTS, "raw_scores": True, "return_text": True})
    jina = httpx.post(f"{url}/v1/rerank", json={"query": "baking", "documents": [{"text": text} for text in TEXTS]})

    assert [(row["index"], row["text"]) for row in tei.json()] == [(at, TEXTS[at]) for at in best]
    close([row["score"] for row in tei.json()], raw[best])
    results = jina.json()["results"]
    assert [(row["index"], row["document"]["text"]) for row in results] == [(at, TEXTS[at]) for at in best]
    assert all(0 <= row["relevance_score"] <= 1 for row in results) and jina.json()["usage"]["total_tokens"] > 0


def test_late_interaction_ranks_without_a_cross_encoder(url):
    body = {"model": "late-interaction", "query": "baking with yeast", "documents": TEXTS, "return_documents": False}

    results = httpx.post(f"{url}/v1/rerank", json=body, timeout=60).json()["results"]

    assert results[0]["index"] == 1 and "document" not in results[0]
    assert 0 <= results[-1]["relevance_score"] < results[0]["relevance_score"] <= 1


def test_tei_errors_have_its_form(url):
    too_many = httpx.post(f"{url}/embed", json={"inputs": ["x"] * 2000})
    too_long = httpx.post(f"{url}/embed", json={"inputs": "word " * 600, "truncate": False})

    assert (too_many.status_code, too_many.json()["error_type"]) == (422, "Validation")
    assert too_long.status_code == 422 and "tokens" in too_long.json()["error"]
    info = httpx.get(f"{url}/info").json()
    assert info["max_client_batch_size"] == 1024 and info["max_input_length"] == 256


def test_a_service_without_the_kind_of_model_says_so(server):
    answer = httpx.post(f"{server}/embed_sparse", json={"inputs": "x"})

    assert (answer.status_code, answer.json()["error_type"]) == (424, "Backend")


def test_concurrent_requests_are_encoded_in_few_batches(url, models, encoder, dense_name):
    texts = [f"text number {number} about {topic}" for number in range(50) for topic in ("bread", "graphs")]
    metric = models[1].metrics.batch_size.labels(f"model {dense_name}")
    before = metric._sum.get(), sum(bucket.get() for bucket in metric._buckets)

    async def ask_all():
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=100)) as client:
            return await asyncio.gather(*(client.post("/embed", json={"inputs": text}) for text in texts))

    answers = asyncio.run(ask_all())

    close([answer.json()[0] for answer in answers], encoder.encode(texts, normalize=True))
    items, batches = metric._sum.get() - before[0], sum(bucket.get() for bucket in metric._buckets) - before[1]
    assert items == 100 and batches < 50


def _logits(encoder, query, texts):
    import copy

    import torch

    raw = copy.copy(encoder)
    raw.activation = torch.nn.Identity()
    return raw.predict([(query, text) for text in texts])
