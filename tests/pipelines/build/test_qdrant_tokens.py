"""A collection whose token vectors are in embedded Qdrant, by the command line and in Python."""

import argparse

import numpy as np
import pytest
from late_interaction import write_colbert

from corpus_files import write_lines
from indexing.collection.manifest import read_manifest
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError
from indexing.max_sim import max_sim
from pipelines.build.job import build_collection
from pipelines.build.plan import IndexChoice
from pipelines.cli import main
from pipelines.commands.index import add_parser
from pipelines.commands.index_options import index_choices
from pipelines.search import SearchPipeline
from retrieve import MultiVectorEncoder
from retrieve.reranking.stored_tokens import StoredTokenReranker

WORDS = ["water", "light", "wave", "energy", "stock", "price", "market", "fire", "heat", "cell"]
QUERY = "water wave"


def texts_of(count, start=0):
    rng = np.random.default_rng(start)
    return {f"d{number:03}": " ".join(rng.choice(WORDS, 3 + number % 9)) for number in range(start, start + count)}


def write(path, texts):
    lines = [{"_id": doc_id, "text": text, "year": 2000 + int(doc_id[1:]) % 3} for doc_id, text in texts.items()]
    return str(write_lines(path, lines))


def expected(encoder, texts):
    kept = encoder.encode_document(list(texts.values()))
    scores = max_sim(encoder.encode_query([QUERY]), kept._replace(vectors=kept.vectors.astype(np.float16)))[0]
    return dict(zip(texts, scores.tolist(), strict=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_colbert(tmp_path_factory.mktemp("model") / "colbert", document_length=30)


@pytest.fixture(scope="module")
def encoder(model):
    return MultiVectorEncoder(model, dtype="float32", device="cpu")


def check_search(directory, encoder, texts):
    """Searches find what exact MaxSim ranks first, with and without a filter, and explain it."""
    scores = expected(encoder, texts)
    with SearchPipeline.open(directory, multi_vector=encoder, legs=["tokens"]) as pipeline:
        for written in (None, {"year": 2001}):
            found = pipeline.search(QUERY, k=8, filter=written, explain=True)
            kept = [doc_id for doc_id in scores if written is None or int(doc_id[1:]) % 3 == 1]
            best = sorted(kept, key=lambda doc_id: (-scores[doc_id], doc_id))[:8]
            np.testing.assert_allclose([hit.score for hit in found], [scores[doc_id] for doc_id in best], rtol=1e-4)
            for hit in found:
                assert hit.score == pytest.approx(scores[hit.doc_id], rel=1e-4)
        parts = found[0].explanation.legs["tokens"].tokens
        assert sum(token.part for token in parts) == pytest.approx(found[0].score, rel=1e-4)


@pytest.mark.slow
def test_a_qdrant_leg_of_token_vectors_lives_as_any_other(tmp_path, model, encoder, capsys):
    directory, texts = tmp_path / "c", texts_of(60)
    corpus = write(tmp_path / "corpus.jsonl", texts)
    build = ["index", corpus, "--to", str(directory), "--no-dense", "--filter-field", "year:number", "--quiet"]
    build += ["--late-interaction", str(model), "--dtype", "float32", "--late-interaction-backend", "qdrant"]
    assert main([*build, "--dry-run"]) == 0
    assert "tokens index" in capsys.readouterr().out
    assert main(build) == 0
    assert main(build) == 0
    assert "nothing to do" in capsys.readouterr().out
    leg = read_manifest(directory).legs["tokens"]
    assert (leg.backend, leg.rows, leg.parameters["metric"]) == ("qdrant", "tokens", "maxsim")
    check_search(directory, encoder, texts)

    own = tmp_path / "own"
    build_collection(
        [Document(doc_id, text) for doc_id, text in texts.items()], own, multi_vector=encoder, show_progress=False
    )
    rankings = []
    for path in (directory, own):
        with SearchPipeline.open(path, multi_vector=encoder, legs=["bm25"], reranker="late-interaction") as pipeline:
            assert isinstance(pipeline.reranker, StoredTokenReranker)
            rankings.append({hit.doc_id: hit.score for hit in pipeline.search(QUERY, k=10)})
    assert rankings[0] == pytest.approx(rankings[1], rel=1e-4)

    texts |= dict.fromkeys(list(texts)[:10], "fire heat fire") | texts_of(20, 200)
    texts = dict(list(texts.items())[5:])
    changed = write(tmp_path / "changed.jsonl", texts)
    update = ["index", changed, "--to", str(directory), "--update", "--remove-missing", "--quiet"]
    assert main([*update, "--late-interaction", str(model), "--dtype", "float32"]) == 0
    check_search(directory, encoder, texts)
    assert not verify(directory)
    assert main(["verify", str(directory)]) == 0
    assert main(["compact", str(directory), "--quiet"]) == 0
    assert not verify(directory)
    check_search(directory, encoder, texts)

    for backend in ("tokens", "qdrant"):
        assert main(["reindex", str(directory), "--leg", "tokens", "--backend", backend, "--quiet"]) == 0
        assert read_manifest(directory).legs["tokens"].backend == backend
        check_search(directory, encoder, texts)


def test_a_leg_that_is_behind_replays_the_journal_and_is_compacted(tmp_path, encoder):
    texts = texts_of(40)
    documents = [Document(doc_id, text) for doc_id, text in texts.items()]
    build_collection(
        documents[:20], tmp_path / "c", bm25=False, multi_vector=encoder, token_index="qdrant", show_progress=False
    )
    collection = CollectionWriter.open(tmp_path / "c", encoders={"tokens": encoder}, commit_seconds=1e9)
    collection.upsert(documents[20:])
    collection.delete(["d003"])
    collection.close()  # as a crash does: without a commit
    scores = expected(encoder, texts)
    with CollectionWriter.open(tmp_path / "c") as again:
        for _ in range(2):
            found = again.index("tokens").search(encoder.encode_query([QUERY]), 60)[0]
            assert len(found.doc_ids) == 39 and "d003" not in found.doc_ids
            np.testing.assert_allclose(found.scores, [scores[doc_id] for doc_id in found.doc_ids], rtol=1e-4)
            again.compact(show_progress=False)
    assert not verify(tmp_path / "c")


def test_what_qdrant_does_not_have_is_refused(tmp_path, model, encoder, capsys):
    documents = [Document("a", "water")]
    with pytest.raises(InputError, match="no parameter 'bits'"):
        build_collection(
            documents, tmp_path / "c", multi_vector=encoder, token_index=IndexChoice("qdrant", {"bits": 4})
        )
    with pytest.raises(InputError, match="'tokens' cannot be of backend 'faiss'"):
        build_collection(documents, tmp_path / "c", multi_vector=encoder, token_index=IndexChoice("faiss"))
    corpus = write(tmp_path / "corpus.jsonl", {"d001": "water"})
    assert main(["index", corpus, "--to", str(tmp_path / "c"), "--late-interaction-backend", "qdrant"]) == 1
    assert "--late-interaction-backend requires --late-interaction" in capsys.readouterr().err


def test_options_of_qdrant_reach_the_leg_of_token_vectors():
    """On a server it has a collection of its own; a graph is the dense leg's if there is one."""
    late = ["--late-interaction", "m", "--late-interaction-backend", "qdrant"]
    server = ["--qdrant-url", "http://q", "--qdrant-collection", "c"]
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    chosen = index_choices(parser.parse_args(["index", "x", "--to", "y", *late, *server, "--dense-index", "hnsw"]))
    assert chosen["token_index"] == IndexChoice("qdrant", {"server": {"url": "http://q", "collection": "c-tokens"}})
    assert chosen["dense_index"] == IndexChoice("faiss", {"kind": "hnsw"})
    options = ["index", "x", "--to", "y", *late, "--hnsw-m", "8"]
    assert index_choices(parser.parse_args([*options, "--dense-index", "hnsw"]))["token_index"].parameters == {}
    assert index_choices(parser.parse_args([*options, "--no-dense"]))["token_index"].parameters == {"m": 8}
