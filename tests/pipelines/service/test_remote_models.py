"""Remote encoders and rerankers against this project's own server, and the examples of docs/remote.md."""

import re
from pathlib import Path

import numpy as np
import pytest

from fusing import hits, run
from pipelines import SearchPipeline
from pipelines.service.config import ServeConfig
from retrieve.remote import RemoteEncoder, RemoteSparseEncoder
from retrieve.reranking.cross_encoder import Reranker
from retrieve.reranking.remote import RemoteReranker
from service_tests import serving

TEXTS = ["A matrix of singular values.", "Bread with yeast, gebacken.", "東京", "a"]
PAGE = Path(__file__).parents[3] / "docs" / "remote.md"


@pytest.fixture(scope="module")
def served(shared_collection, model_entries):
    with serving(ServeConfig(models=model_entries).with_collections([str(shared_collection)])) as (url, service):
        yield url, service.served_models.find(None, "dense")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed"])
def test_vectors_are_those_of_the_served_encoder(served, path):
    url, dense = served
    remote = RemoteEncoder(url + path, dense.name, batch=2)
    np.testing.assert_allclose(remote.encode_document(TEXTS), dense.encoder.encode_document(TEXTS), atol=2e-5)
    assert remote.dimension == 384
    assert remote.usage.tokens > 0 or path == "/embed"


def test_term_weights_are_those_of_the_served_encoder(served, tiny_splade):
    remote = RemoteSparseEncoder(served[0], vocabulary=tiny_splade.vocabulary, batch=2)
    expected = tiny_splade.encode_document(TEXTS).toarray()
    np.testing.assert_allclose(remote.encode_document(TEXTS).toarray(), expected, atol=1e-4)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_a_remote_reranker_orders_as_the_served_one(served, tiny_cross_encoder, path):
    found = hits({str(number): 9.0 - number for number in range(4)})
    texts = {str(number): text for number, text in enumerate(TEXTS)}
    local = Reranker(tiny_cross_encoder).rerank(["bread"], found, texts)
    remote = RemoteReranker(served[0] + path, "cross", batch=8).rerank(["bread"], found, texts)
    assert list(run(remote)[0]) == list(run(local)[0])


def test_a_collection_of_a_local_model_does_not_open_with_a_remote_one(served, shared_collection):
    from indexing.errors import ModelError

    with pytest.raises(ModelError, match="they differ in"):
        SearchPipeline.open(shared_collection, dense=RemoteEncoder(served[0], served[1].name))


def test_the_examples_of_the_page_run(served, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        code = code.replace("https://models.example", served[0]).replace('"all-MiniLM-L6-v2"', repr(served[1].name))
        exec(compile(code, "remote.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert "1" in eval(printed[0])
    assert sorted(eval(printed[1])) == ["1", "2"]
    assert printed[2].startswith("Usage(requests=")
