"""Models behind a URL: right vectors, bounded time, clear errors, no key where none belongs."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import numpy as np
import pytest

from fusing import hits, run
from indexing import Document
from indexing.errors import EndpointError, InputError, ModelError
from pipelines import SearchPipeline, build_collection, cli
from pipelines.models import collection_encoders
from pipelines.search.config import SearchConfig
from remote_stub import DIMENSION, Stub, stub
from retrieve import DenseEncoder, Reranker, SparseEncoder
from retrieve.remote import RemoteEncoder, RemoteSparseEncoder
from retrieve.remote.endpoint import Endpoint
from retrieve.reranking.budget import Budget
from retrieve.reranking.remote import RemoteReranker
from retrieve.trace import Trace

TEXTS = ["first text", "", "a third and much longer text than the others", "東京"]


@pytest.fixture
def server() -> Iterator[Stub]:
    with stub() as running:
        yield running


def expected(server: Stub, texts: list[str]) -> np.ndarray:
    return np.array([server.vector((text.strip() and text) or " ") for text in texts], np.float32)


@pytest.mark.parametrize("path", ["/v1/embeddings#m", "/embed", "#m", "/v1#m"])
def test_vectors_come_in_the_order_of_the_texts_whatever_the_order_of_the_answer(server: Stub, path: str) -> None:
    encoder = RemoteEncoder(server.url + path, batch=2)
    np.testing.assert_allclose(encoder.encode_document(TEXTS), expected(server, TEXTS), rtol=1e-6)
    np.testing.assert_allclose(encoder.encode_query("first text"), expected(server, ["first text"])[0], rtol=1e-6)
    assert encoder.encode_document([]).shape == (0, DIMENSION)
    sent = server.requests[-1]
    assert (sent[1].get("model") == "m") == ("m" in path.partition("#")[2])
    assert "Authorization" not in sent[2]


@pytest.mark.parametrize("kind", [RemoteEncoder, RemoteSparseEncoder])
def test_an_encoder_is_refused_soon_when_nothing_answers(kind, monkeypatch) -> None:
    """It does not wait as long as a batch of documents may take."""
    monkeypatch.setattr("retrieve.remote.encoders.FIRST_SECONDS", 0.2)
    path = "embed_sparse" if kind is RemoteSparseEncoder else "embed"
    with pytest.raises(ModelError, match="cannot be reached"):
        kind(f"http://127.0.0.1:9/{path}")


def test_tokens_requests_and_retries_are_counted(server: Stub) -> None:
    encoder = RemoteEncoder(server.url, "m", batch=2)
    assert (encoder.usage.requests, encoder.usage.tokens, encoder.usage.retries) == (4, 24, 0)
    server.behaviour, server.failures = "500", 2
    encoder.encode_query("again")
    assert (encoder.usage.requests, encoder.usage.retries) == (7, 2)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_fails_for_a_while_is_asked_again(server: Stub, status: int) -> None:
    encoder = RemoteEncoder(server.url, "m")
    server.behaviour, server.failures = str(status), 1
    np.testing.assert_allclose(encoder.encode_document(TEXTS), expected(server, TEXTS), rtol=1e-6)


def test_the_pause_that_a_server_asks_for_is_kept_and_bounded_by_the_time_limit(server: Stub) -> None:
    encoder = RemoteEncoder(server.url, "m", query_seconds=0.5)
    server.behaviour, server.failures, server.retry_after = "429", 1, "60"
    start = time.monotonic()
    with pytest.raises(ModelError, match="within the time limit: status 429"):
        encoder.encode_query("text")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("behaviour", ["stall", "drip", "500"])
def test_a_server_that_stalls_or_fails_for_ever_ends_at_the_time_limit(server: Stub, behaviour: str) -> None:
    encoder = RemoteEncoder(server.url, "m", query_seconds=0.4)
    server.behaviour = behaviour
    with pytest.raises(ModelError, match="no usable answer within the time limit"):
        encoder.encode_query("text")


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("short", "dimensions, and before they had 16"),
        ("nan", "NaN or infinity"),
        ("fewer", "3 vectors for 4 texts|array of shape"),
        ("repeated", "an index that is missing or repeated"),
        ("garbage", "no list 'data'"),
        ("401", "status 401 .refused.; is the key in the environment right"),
        ("404", "refuses the request: status 404"),
        ("302", "refuses the request: status 302"),
    ],
)
def test_wrong_answers_and_refusals_are_errors_at_once(server: Stub, behaviour: str, message: str) -> None:
    encoder = RemoteEncoder(server.url, "m")
    server.behaviour, before = behaviour, len(server.requests)
    with pytest.raises(ModelError, match=message):
        encoder.encode_document(TEXTS)
    assert len(server.requests) == before + 1


def test_a_batch_that_is_too_large_is_halved_until_the_server_takes_it(server: Stub) -> None:
    server.most_texts = 3
    encoder = RemoteEncoder(server.url + "/embed")
    texts = [f"text {number}" * (number % 3 + 1) for number in range(20)]
    np.testing.assert_allclose(encoder.encode_document(texts), expected(server, texts), rtol=1e-6)
    assert max(len(body["inputs"]) for _, body, _ in server.requests[-7:]) <= 3


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match=r"m at http://127.0.0.1:9/v1/embeddings gave no usable answer"):
        RemoteEncoder("http://127.0.0.1:9", "m", document_seconds=0.3)


def test_keys_come_from_the_environment_and_appear_nowhere(server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    encoder = RemoteEncoder(server.url, "m", key_variable="MY_KEY")
    assert server.requests[-1][2]["Authorization"] == "Bearer sesame"
    assert "sesame" not in repr(encoder.identity)
    server.behaviour = "403"
    with pytest.raises(ModelError) as error:
        encoder.encode_query("text")
    assert "sesame" not in str(error.value)
    with pytest.raises(InputError, match="OTHER_KEY is not set"):
        RemoteEncoder(server.url, "m", key_variable="OTHER_KEY")
    with pytest.raises(InputError, match="must not contain a key"):
        RemoteEncoder("https://user:sesame@host/v1/embeddings")


@pytest.mark.parametrize(
    ("url", "task", "called", "protocol"),
    [
        ("https://h", "dense", "https://h/v1/embeddings", "openai"),
        ("https://h/x/v1/embeddings", "dense", "https://h/x/v1/embeddings", "openai"),
        ("http://h:80/embed", "dense", "http://h:80/embed", "tei"),
        ("http://h", "sparse", "http://h/embed_sparse", "tei"),
        ("http://h/rerank", "rerank", "http://h/rerank", "tei"),
        ("http://h/v2/rerank", "rerank", "http://h/v2/rerank", "cohere"),
        ("http://h", "rerank", "http://h/v1/rerank", "cohere"),
    ],
)
def test_the_path_says_how_a_server_is_asked(url: str, task: str, called: str, protocol: str) -> None:
    endpoint = Endpoint.of(f"{url}#a/b", task)  # type: ignore[arg-type]
    assert (endpoint.url, endpoint.protocol, endpoint.model) == (called, protocol, "a/b")


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(InputError, match="end it with /embeddings, /embed"):
        Endpoint.of("https://h/models", "dense")


DOCUMENTS = [Document(str(number), f"document number {number}") for number in range(30)]


def test_a_changed_model_is_refused_and_a_jittering_one_is_not(server: Stub, tmp_path) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", dense=RemoteEncoder(server.url, "m"), show_progress=False)
    server.noise = 0.002
    with SearchPipeline.open(tmp_path / "c", dense=RemoteEncoder(server.url, "m")) as pipeline:
        assert pipeline.search("document number 7", k=1)[0].doc_id == "7"
    with SearchPipeline.open(tmp_path / "c", dense=server.url) as pipeline:
        assert pipeline.search("document number 8", k=1)[0].doc_id == "8"
    server.model = "two"
    with pytest.raises(ModelError, match="they differ in fingerprint"):
        SearchPipeline.open(tmp_path / "c", dense=server.url)
    server.model = "one"
    with pytest.raises(ModelError, match=r"they differ in .*model"):
        SearchPipeline.open(tmp_path / "c", dense=f"{server.url}#other")


def test_opening_a_collection_calls_no_server_that_only_the_collection_names(server: Stub, tmp_path) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", dense=RemoteEncoder(server.url, "m"), show_progress=False)
    before = len(server.requests)
    for open_it in (SearchPipeline.open, collection_encoders):
        with pytest.raises(ModelError, match="Opening a collection calls no server"):
            open_it(tmp_path / "c")
    (tmp_path / "c" / "search.yaml").write_text(f"legs:\n  dense:\n    encoder: {server.url}\n")
    with pytest.raises(InputError, match="to call that server, name the file"):
        SearchPipeline.open(tmp_path / "c")
    (tmp_path / "c" / "search.yaml").write_text(f"reranker: {server.url}\n")
    with pytest.raises(InputError, match="to call that server, name the file"):
        SearchPipeline.open(tmp_path / "c")
    assert len(server.requests) == before


def test_a_named_configuration_may_name_urls(server: Stub, tmp_path) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", dense=RemoteEncoder(server.url, "m"), show_progress=False)
    config = {"legs": {"dense": {"encoder": server.url}}, "reranker": f"{server.url}/rerank"}
    with SearchPipeline.open(tmp_path / "c", config=SearchConfig.load(config)) as pipeline:
        assert pipeline.search("document number 7", k=1)
    assert server.requests[-1][0] == "/rerank"


@pytest.mark.parametrize(("path", "reported"), [("/rerank", 0), ("/v1/rerank#m", 14), ("/v2/rerank#m", 14)])
def test_a_remote_reranker_orders_candidates_by_its_scores(server: Stub, path: str, reported: int) -> None:
    server.most_texts = 4
    reranker = RemoteReranker(server.url + path, batch=4)
    texts = {str(number): "x" * (number + 1) for number in range(6)}
    found = hits({doc_id: 6.0 - place for place, doc_id in enumerate(texts)})
    assert list(run(reranker.rerank(["query"], found, texts))[0]) == list(texts)[::-1]
    assert reranker.usage.tokens == reported


@pytest.mark.parametrize("behaviour", ["stall", "503"])
def test_a_budget_of_time_ends_the_wait_for_a_server_and_leaves_the_first_stage(server, tmp_path, behaviour) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", show_progress=False)
    reranker = RemoteReranker(f"{server.url}/v1/rerank#m", seconds=60)
    server.stall_seconds = 1.0
    with SearchPipeline.open(tmp_path / "c", reranker=reranker, budget=Budget(max_ms=250)) as pipeline:
        alone = pipeline.search("document number 7", k=5, budget=Budget(max_pairs=1))
        server.behaviour = behaviour
        found = pipeline.search("document number 7", k=5)
    assert [hit.doc_id for hit in found] == [hit.doc_id for hit in alone]
    assert (alone.reranked, found.reranked) == (1, 0)
    assert any("the reranker did not answer within max_ms" in note for note in found.notes)


def test_a_refusal_is_an_error_also_within_a_budget(server: Stub) -> None:
    reranker = RemoteReranker(f"{server.url}/v1/rerank#m")
    server.behaviour = "401"
    with pytest.raises(ModelError, match="status 401"):
        reranker.rerank(["query"], hits({"a": 2.0, "b": 1.0}), {"a": "x", "b": "xx"}, budget=Budget(max_ms=5000))


def test_what_was_read_before_the_time_ended_is_ranked_above_the_rest(server: Stub) -> None:
    reranker = RemoteReranker(f"{server.url}/rerank", batch=4)
    texts = {str(number): "x" * (number + 1) for number in range(20)}
    ask = reranker._ask

    def ask_once(query, batch, deadline):
        if len(server.requests) >= 2:
            server.behaviour = "stall"
        return ask(query, batch, deadline)

    reranker._ask = ask_once  # type: ignore[method-assign]
    found = hits({doc_id: 20.0 - place for place, doc_id in enumerate(texts)})
    trace = Trace()
    ranked = list(run(reranker.rerank(["query"], found, texts, budget=Budget(max_ms=700), trace=trace))[0])
    assert trace.out_of_time
    assert trace.scored is not None
    read = int(trace.scored[0])
    assert 0 < read < 20
    assert ranked == [*map(str, range(read - 1, -1, -1)), *map(str, range(read, 20))]


def test_a_changed_reranker_is_refused_where_its_fingerprint_was_saved(server: Stub, tmp_path) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", show_progress=False)
    url = f"{server.url}/v1/rerank#m"
    with SearchPipeline.open(tmp_path / "c", reranker=url) as pipeline:
        before = len(server.requests)
        pipeline.save(tmp_path / "system.yaml")
        pipeline.save(tmp_path / "system.yaml")
    assert len(server.requests) == before + 2
    saved = SearchConfig.load(tmp_path / "system.yaml").reranker
    assert saved is not None
    assert saved.model == url
    assert saved.fingerprint is not None
    server.noise = 0.05
    with SearchPipeline.from_config(tmp_path / "system.yaml") as pipeline:
        assert pipeline.search("document", k=1)
    server.noise, server.model = 0.0, "two"
    with pytest.raises(ModelError, match="is another model than the one recorded"):
        SearchPipeline.from_config(tmp_path / "system.yaml")
    with SearchPipeline.open(tmp_path / "c", reranker=url) as pipeline:
        assert pipeline.search("document", k=1)
    with pytest.raises(InputError, match="a fingerprint is for a reranker behind a URL"):
        SearchPipeline.open(tmp_path / "c", config={"reranker": {"model": "local", "fingerprint": [1.0]}})


def test_evaluation_and_tuning_take_models_behind_urls(server: Stub, tmp_path, capsys) -> None:
    build_collection(DOCUMENTS, tmp_path / "c", dense=RemoteEncoder(server.url, "m"), show_progress=False)
    (tmp_path / "q.tsv").write_text("_id\ttext\n" + "".join(f"q{n}\tdocument number {n}\n" for n in range(9)))
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\t{n}\t1\n" for n in range(9)))
    judged = ["--queries", str(tmp_path / "q.tsv"), "--qrels", str(tmp_path / "qrels.tsv"), "--dense", server.url]
    url = f"{server.url}/v1/rerank#m"
    command = ["evaluate", str(tmp_path / "c"), *judged, "--reranker", url, "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    systems = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["c"]["systems"]
    assert list(systems) == ["bm25", "dense", "hybrid", "hybrid+rerank"]
    assert systems["dense"]["measures"]["nDCG@10"] == 1.0
    assert cli.main(["tune", str(tmp_path / "c"), *judged, "--reranker", url, "--write", "always", "--quiet"]) == 0
    saved = SearchConfig.load(tmp_path / "c" / "search.yaml").reranker
    assert saved is not None
    assert saved.fingerprint is not None
    assert f"--config {tmp_path / 'c' / 'search.yaml'}" in capsys.readouterr().out


def test_a_server_of_tei_says_how_many_texts_it_takes(server: Stub) -> None:
    server.info = {"model_id": "m", "max_client_batch_size": 5}
    server.most_texts = 5
    texts = [f"text {number}" for number in range(12)]
    for encode in (
        RemoteEncoder(server.url + "/embed").encode_document,
        RemoteSparseEncoder(server.url, vocabulary=5003).encode_document,
        lambda texts: RemoteReranker(server.url + "/rerank")._ask_all("query", texts, None),
    ):
        before = len(server.requests)
        encode(texts)
        sizes = [len(body.get("inputs") or body["texts"]) for _, body, _ in server.requests[before:] if body]
        assert sizes == [5, 5, 2] or sorted(sizes) == [2, 5, 5]
    server.info = {"max_client_batch_size": "many"}
    assert RemoteReranker(server.url + "/rerank")._client.batch == 32


def test_a_pause_given_as_a_date_is_kept(server: Stub) -> None:
    encoder = RemoteEncoder(server.url, "m")
    server.behaviour, server.failures = "429", 1
    server.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    begun = time.time()
    encoder.encode_query("text")
    assert time.time() >= min(begun + 1, parsedate_to_datetime(server.retry_after).timestamp()) - 0.05


def test_a_stub_of_term_weights_is_a_sparse_leg(server: Stub, tmp_path) -> None:
    encoder = RemoteSparseEncoder(server.url, vocabulary=5003)
    build_collection(DOCUMENTS, tmp_path / "c", bm25=False, sparse=encoder, show_progress=False)
    with SearchPipeline.open(tmp_path / "c", sparse=encoder) as pipeline:
        assert pipeline.search("document number 7", k=1)[0].doc_id == "7"
    with pytest.raises(ModelError, match="state another vocabulary"):
        RemoteSparseEncoder(server.url, vocabulary=10)


def test_the_command_line_takes_a_url_and_the_name_of_its_model(server: Stub, tmp_path, capsys) -> None:
    (tmp_path / "c.jsonl").write_text('{"_id": "1", "text": "bread"}\n{"_id": "2", "text": "tides"}\n')
    target = str(tmp_path / "c")
    command = [
        "index",
        str(tmp_path / "c.jsonl"),
        "--to",
        target,
        "--quiet",
        "--dense",
        server.url,
        "--dense-model",
        "m",
    ]
    assert cli.main(command) == 0
    assert cli.main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert cli.main(["search", target, "bread", "--dense", server.url]) == 0
    assert "1. 1" in capsys.readouterr().out
    assert cli.main(["search", target, "bread"]) != 0
    assert "calls no server" in capsys.readouterr().err
    assert cli.main([*command[:4], "--dense-model", "m"]) != 0
    assert "--dense must be its URL" in capsys.readouterr().err


def test_a_server_that_fails_while_skipping_is_no_fault_of_the_documents(server: Stub, tmp_path) -> None:
    from indexing.corpora import read_corpus

    (tmp_path / "c.jsonl").write_text("".join(f'{{"_id": "{n}", "text": "text {n}"}}\n' for n in range(40)))
    encoder = RemoteEncoder(server.url, "m")
    server.behaviour, before = "404", len(server.requests)
    corpus = read_corpus(tmp_path / "c.jsonl", on_error="skip")
    with pytest.raises(EndpointError, match="status 404"):
        build_collection(corpus, tmp_path / "c", dense=encoder, show_progress=False)
    assert len(server.requests) <= before + 2


class TestFunctions:
    def test_a_function_is_an_encoder_whose_identity_is_as_stated(self, tmp_path) -> None:
        def encode(texts):
            return [[len(text), text.count("7"), 1.0] for text in texts]

        encoder = DenseEncoder.of(encode, 3, identity="lengths@1", similarity="dot")
        build_collection(DOCUMENTS, tmp_path / "c", bm25=False, dense=encoder, show_progress=False)
        with SearchPipeline.open(tmp_path / "c", dense=encoder) as pipeline:
            assert len(pipeline.search("7", k=2)) == 2
        with pytest.raises(ModelError, match="they differ in model"):
            SearchPipeline.open(
                tmp_path / "c", dense=DenseEncoder.of(encode, 3, identity="lengths@2", similarity="dot")
            )
        with pytest.raises(ModelError, match="must return finite vectors of shape"):
            DenseEncoder.of(encode, 4, identity="x@1").encode_query(["a"])
        with pytest.raises(InputError, match="identity must name"):
            DenseEncoder.of(encode, 3, identity="")

    def test_functions_of_term_weights_and_scores(self, tmp_path) -> None:
        words = ["document", "number", "7"]
        encoder = SparseEncoder.of(
            lambda texts: [[float(w in t.split()) for w in words] for t in texts], words, identity="w@1"
        )
        build_collection(DOCUMENTS, tmp_path / "c", bm25=False, sparse=encoder, show_progress=False)
        reranker = Reranker.of(lambda query, texts: [float(text.endswith("9")) for text in texts])
        with SearchPipeline.open(tmp_path / "c", sparse=encoder, reranker=reranker) as pipeline:
            assert pipeline.search("number", k=1)[0].doc_id in ("9", "19", "29")
