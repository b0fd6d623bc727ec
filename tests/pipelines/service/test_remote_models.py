"""Remote encoders and rerankers against this project's own server, and the examples of docs/remote.md."""

import re
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet
import pytest

from corpus_files import write_lines
from fusing import hits, run
from pipelines import SearchPipeline
from pipelines.cli import main
from pipelines.service.config import CollectionEntry, ServeConfig
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


def test_a_served_collection_reranks_by_a_model_behind_a_url(served, shared_collection, tmp_path):
    config, model = tmp_path / "search.yaml", f"{served[0]}/v2/rerank#cross"
    config.write_text(f"reranker: {{model: '{model}'}}\n", encoding="utf-8")
    entry = CollectionEntry(str(shared_collection), config=str(config))
    with serving(ServeConfig(collections={"notes": entry})) as (url, _):
        answer = httpx.post(f"{url}/v1/collections/notes/search", json={"query": "bread", "explain": True}, timeout=60)
        assert answer.status_code == 200, answer.text
        with SearchPipeline.open(shared_collection, config=config) as pipeline:
            expected = pipeline.search("bread")
        assert [hit["doc_id"] for hit in answer.json()["hits"]] == [hit.doc_id for hit in expected]
        kinds = [model["kind"] for model in httpx.get(f"{url}/v1/models").json()["data"]]
        assert kinds == ["dense", "late-interaction"], "its own server answers for the reranker"


def test_candidates_are_mined_by_the_scores_of_a_reranker_behind_a_url(
    served, shared_collection, corpus, tiny_cross_encoder, tmp_path
):
    pairs = write_lines(tmp_path / "pairs.jsonl", [{"query": "bake a loaf", "positive": corpus[3].text}])
    command = ["mine", str(shared_collection), "--pairs", str(pairs), "--quiet", "--format", "labeled-list", "--scores"]
    rows = {}
    for scorer in (f"{served[0]}/v2/rerank#cross", str(tiny_cross_encoder.checkpoint.folder)):
        output = tmp_path / str(len(rows))
        assert main([*command, "--scorer", scorer, "--output", str(output)]) == 0
        rows[scorer] = pyarrow.parquet.read_table(output / "part-00000.parquet").to_pylist()
    remote, local = rows.values()
    assert len(local) == 1 and remote[0].keys() == local[0].keys()
    for name, value in local[0].items():
        assert remote[0][name] == (pytest.approx(value, abs=1e-4) if name in ("label", "labels", "scores") else value)


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
