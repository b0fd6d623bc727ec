"""Encoding as a Ray Data job, on a local cluster of two workers."""

import json
import os
import signal
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from late_interaction import write_colbert

from checkpoints import write_bert
from indexing.collection.reader import Collection
from indexing.corpora.corpus import read_corpus
from pipelines.build.job import build_legs
from pipelines.build.plan import make_plan
from pipelines.build.ray_engine import Cluster, encode_with_ray
from pipelines.cli import main
from retrieve.encoders import DenseEncoder, MultiVectorEncoder, SparseEncoder
from retrieve.encoders.dense_tokens import DenseTokens

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'retrieve-rerank[ray]'")

QUIET = {"show_progress": False}
TWO = Cluster(workers=2)
MARK = "RETRIEVE_TEST_CLUSTER"


def records(count):
    return [{"_id": f"d{number}", "text": f"the cell of light {number} water wave"} for number in range(count)]


def in_lines(folder: Path, count: int) -> Path:
    """Write JSON lines in three parts."""
    folder.mkdir()
    all_records = records(count)
    for part in range(3):
        lines = [json.dumps(record) + "\n" for record in all_records[part * count // 3 : (part + 1) * count // 3]]
        (folder / f"part-{part}.jsonl").write_text("".join(lines))
    return folder


def processes(mark: str, name: bytes) -> list[int]:
    """Return the processes of the cluster started with this mark whose command line begins so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(name) and mark.encode() in (
                folder / "environ"
            ).read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cluster():
    os.environ[MARK] = mark = uuid.uuid4().hex
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield mark
    ray.shutdown()
    del os.environ[MARK]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_killed_on_the_way_costs_nothing_but_time(tmp_path, model, cluster):
    corpus = read_corpus(in_lines(tmp_path / "corpus", 3000))
    encoder = DenseEncoder(model, dtype="float32")
    encoded = tmp_path / "encoded"
    killed: list[tuple[int, int]] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            files = len(list(encoded.rglob("*.npz")))
            workers = processes(cluster, b"ray::MapWorker") if files else []
            if workers:
                os.kill(workers[0], signal.SIGKILL)
                killed.append((workers[0], files))
            time.sleep(0.005)

    killer = threading.Thread(target=kill_one)
    killer.start()
    done = encode_with_ray(corpus, {"dense": encoder}, encoded, cluster=TWO, range_bytes=4096, **QUIET)
    killer.join()

    [(_, files_then)] = killed
    assert files_then < done.ranges
    assert (done.documents, done.malformed) == (3000, 0)
    assert len(list(encoded.rglob("*"))) == done.ranges + 1

    plan = make_plan(bm25=False, dense=encoder)
    build_legs(corpus, tmp_path / "here", plan, **QUIET)
    build_legs(corpus, tmp_path / "there", replace(plan, encoders=done.encoders), **QUIET)
    ids = [record["_id"] for record in records(3000)]
    questions = encoder.encode_query(["water wave 17", "light", "cell of 2999"])
    with Collection.open(tmp_path / "here") as here, Collection.open(tmp_path / "there") as there:
        assert sorted(document.doc_id for document in there.documents) == sorted(ids)
        np.testing.assert_allclose(
            there.index("dense").score(questions, [ids] * 3),
            here.index("dense").score(questions, [ids] * 3),
            atol=1e-5,
        )


def test_run_again_only_what_is_missing_damaged_or_new_is_encoded(tmp_path, model, cluster):
    rows = records(200)
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "corpus.parquet", row_group_size=64)
    encoder = DenseEncoder(model, dtype="float32")

    def encode():
        corpus = read_corpus(tmp_path / "corpus.parquet")
        return encode_with_ray(corpus, {"dense": encoder}, tmp_path / "encoded", cluster=TWO, range_rows=50, **QUIET)

    assert (encode().encoded, encode().encoded) == (4, 0)
    gone, damaged = sorted((tmp_path / "encoded").rglob("*.npz"))[:2]
    gone.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert encode().encoded == 2

    rows[60]["text"] = "fire"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "corpus.parquet")
    again = encode()
    assert again.encoded == 1
    np.testing.assert_allclose(
        again.encoders["dense"].encode_document(["fire"]), encoder.encode_document(["fire"]), atol=1e-5
    )


def test_term_weights_are_encoded_by_workers_as_well(tmp_path, model, cluster):
    from transformers import BertForMaskedLM

    corpus = read_corpus(in_lines(tmp_path / "corpus", 300))
    splade = SparseEncoder(write_bert(tmp_path / "splade", BertForMaskedLM), dtype="float32")
    encoders = {"dense": DenseEncoder(model, dtype="float32"), "sparse": splade}
    done = encode_with_ray(corpus, encoders, tmp_path / "encoded", cluster=TWO, range_bytes=4096, **QUIET)
    assert (done.documents, done.encoded) == (300, done.ranges)
    again = encode_with_ray(corpus, encoders, tmp_path / "encoded", cluster=TWO, range_bytes=4096, **QUIET)
    assert again.encoded == 0

    for sparse_index in ("impact", "qdrant"):
        plan = make_plan(bm25=False, sparse=splade, sparse_index=sparse_index)
        here, there = tmp_path / f"here-{sparse_index}", tmp_path / f"there-{sparse_index}"
        build_legs(corpus, here, plan, **QUIET)
        build_legs(corpus, there, replace(plan, encoders={"sparse": again.encoders["sparse"]}), **QUIET)
        questions = splade.encode_query(["water wave 17", "light"])
        ids = [record["_id"] for record in records(300)]
        with Collection.open(here) as ours, Collection.open(there) as theirs:
            assert theirs.manifest.legs["sparse"].encoder == ours.manifest.legs["sparse"].encoder
            np.testing.assert_allclose(
                theirs.index("sparse").score(questions, [ids] * 2),
                ours.index("sparse").score(questions, [ids] * 2),
                rtol=1e-3,
            )


def test_token_vectors_are_encoded_by_workers_as_well(tmp_path, model, cluster):
    corpus = read_corpus(in_lines(tmp_path / "corpus", 60))
    colbert = MultiVectorEncoder(write_colbert(tmp_path / "colbert", document_length=30), dtype="float32", device="cpu")
    dense = DenseEncoder(model, dtype="float32")
    for name, encoder in (("colbert", colbert), ("pooled", DenseTokens(dense, pool_factor=2))):
        folder = tmp_path / f"encoded-{name}"
        done = encode_with_ray(corpus, {"tokens": encoder}, folder, cluster=TWO, range_bytes=1024, **QUIET)
        assert (done.documents, done.encoded) == (60, done.ranges) and done.ranges > 2
        plan = make_plan(bm25=False, multi_vector=encoder)
        build_legs(corpus, tmp_path / f"here-{name}", plan, **QUIET)
        build_legs(corpus, tmp_path / f"there-{name}", replace(plan, encoders=done.encoders), **QUIET)
        questions, ids = encoder.encode_query(["water wave 17", "light"]), [record["_id"] for record in records(60)]
        with (
            Collection.open(tmp_path / f"here-{name}") as ours,
            Collection.open(tmp_path / f"there-{name}") as theirs,
        ):
            np.testing.assert_allclose(
                theirs.index("tokens").score(questions, [ids] * 2),
                ours.index("tokens").score(questions, [ids] * 2),
                atol=1e-3,
            )


def test_files_and_chunks_are_read_and_encoded_by_workers(tmp_path, model, cluster, capsys):
    folder = tmp_path / "handbook"
    (folder / "deep").mkdir(parents=True)
    for number in range(9):
        sections = [f"# Part {part}\n\nThe light of the cell {number}. " + "water wave " * 30 for part in range(3)]
        (folder / ("deep" if number % 2 else ".") / f"page{number}.md").write_text("\n\n".join(sections))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    common = ["--dense", str(model), "--no-bm25", "--quiet", "--chunk-size", "40", "--dtype", "float32"]
    with_ray = ["--engine", "ray", "--workers", "2", "--ray-shards", str(tmp_path / "encoded")]
    assert main(["index", str(folder), "--to", str(tmp_path / "here"), *common]) == 0
    assert main(["index", str(folder), "--to", str(tmp_path / "there"), *common, *with_ray]) == 0
    assert "encoded 81 documents" in capsys.readouterr().out

    corpus = in_lines(tmp_path / "corpus", 20)
    chunked = [*common, "--chunk", "tokens", "--chunk-size", "4", "--chunk-overlap", "0"]
    assert main(["index", str(corpus), "--to", str(tmp_path / "here-lines"), *chunked]) == 0
    assert main(["index", str(corpus), "--to", str(tmp_path / "there-lines"), *chunked, *with_ray]) == 0

    (folder / "page0.md").write_text("# Changed\n\nfire and heat")
    (folder / "page2.md").unlink()
    for target, more in (("here", []), ("there", with_ray)):
        assert main(["index", str(folder), "--to", str(tmp_path / target), *common, *more, "--remove-missing"]) == 0
    questions = DenseEncoder(model, dtype="float32").encode_query(["water wave", "fire"])
    for suffix, count in (("", 64), ("-lines", 40)):
        with (
            Collection.open(tmp_path / f"here{suffix}") as ours,
            Collection.open(tmp_path / f"there{suffix}") as theirs,
        ):
            ids = sorted(document.doc_id for document in ours.documents)
            assert sorted(document.doc_id for document in theirs.documents) == ids and len(ids) == count
            np.testing.assert_allclose(
                theirs.index("dense").score(questions, [ids] * 2),
                ours.index("dense").score(questions, [ids] * 2),
                atol=1e-5,
            )


def test_the_command_builds_from_what_workers_encoded(tmp_path, model, cluster, capsys):
    corpus = in_lines(tmp_path / "corpus", 90)
    arguments = ["--to", str(tmp_path / "c"), "--dense", str(model), "--engine", "ray", "--workers", "2", "--quiet"]
    assert main(["index", str(corpus), "--dense-backend", "qdrant", *arguments]) == 0
    assert "encoded 90 documents" in capsys.readouterr().out
    with Collection.open(tmp_path / "c") as collection:
        assert len(collection) == 90
        assert {name: leg.backend for name, leg in collection.manifest.legs.items()} == {
            "bm25": "bm25",
            "dense": "qdrant",
        }
