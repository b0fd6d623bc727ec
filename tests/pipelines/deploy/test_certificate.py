"""Certificates: equal collections pass, and a sabotaged point fails by name."""

import json
import shutil

import numpy as np
import pytest

from indexing.collection.writer import CollectionWriter
from indexing.deployment.places import FolderPlace
from indexing.documents import Document
from indexing.indexes.qdrant.engine import point_id
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.deploy.certificate import certify
from pipelines.deploy.job import deploy


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_dense, tiny_splade):
    path = tmp_path_factory.mktemp("built") / "collection"
    documents = [
        Document(f"d{n}", f"{n} about topic{n % 5} " + "filler " * n, f"Title {n}", {"year": n}) for n in range(25)
    ]
    build_collection(
        documents, path, dense=tiny_dense, sparse=tiny_splade, fields={"year": "number"}, show_progress=False
    )
    return path


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    to = tmp_path_factory.mktemp("deployed") / "there"
    deploy(built, to, show_progress=False)
    return to


@pytest.fixture
def there(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "there")


@pytest.fixture
def encoders(tiny_dense, tiny_splade):
    return {"dense": tiny_dense, "sparse": tiny_splade}


def test_a_deployment_passes_with_each_leg_and_the_fused_result(built, whole, encoders, tmp_path):
    qrels = {"q": {"d3": 1, "d8": 1}}
    queries = {"q": "about topic3 filler", "r": "title 7"}
    found = certify(built, whole, queries=queries, qrels=qrels, **encoders)
    assert found.passed, found.lines()
    settings = {one.name: one.bound.setting for one in found.comparisons}
    assert settings == {"bm25": "exact", "dense": "graph", "sparse": "rounded", "fused": "graph"}
    assert found.documents == (25, 25) and found.compared == 25
    ours, theirs = found.comparisons[0].ndcg
    assert ours == theirs > 0
    assert found.lines()[0].endswith("PASSED")


def sabotage(there, change):
    place = FolderPlace.existing(there)
    engine = place.open()
    change(engine, engine.retrieve([point_id("d7")], ["bm25", "dense", "sparse"])[0])
    engine.flush()
    engine.close()


def change_vector(engine, point):
    point.vectors["dense"] = (np.array(point.vectors["dense"]) + np.eye(len(point.vectors["dense"]))[0]).tolist()
    engine.store([point])


def drop_payload(engine, point):
    del point.payload["metadata"]
    engine.store([point])


def drop_document(engine, point):
    engine.delete([point.id])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_vector, "'d7': its vector of the leg 'dense' differs"),
        (drop_payload, "'d7': its payload field 'metadata' differs, or is missing"),
        (drop_document, "'d7' is not deployed"),
    ],
)
def test_a_sabotaged_point_fails_and_is_named(built, there, encoders, change, says):
    sabotage(there, change)
    found = certify(built, there, queries={"q": "topic2"}, **encoders)
    assert not found.passed
    assert any(says in str(difference) for difference in found.differences), found.lines()


def test_a_quantised_deployment_states_its_looser_bound(built, tmp_path, encoders):
    deploy(built, tmp_path / "there", quantization="scalar", show_progress=False)
    found = certify(built, tmp_path / "there", sampled=10, **encoders)
    dense = next(one for one in found.comparisons if one.name == "dense")
    assert dense.bound.setting == "quantised" and found.passed, found.lines()


def test_two_collections_are_compared_and_the_command_reports_it(tmp_path, capsys):
    documents = [Document(f"d{n}", f"{n} about topic{n % 5} " + "filler " * n) for n in range(12)]
    for name in ("one", "two"):
        build_collection(documents, tmp_path / name, show_progress=False)
    paths = [str(tmp_path / "one"), "--against", str(tmp_path / "two")]
    assert main(["reindex", str(tmp_path / "two"), "--leg", "bm25", "--backend", "qdrant", "--quiet"]) == 0
    report = tmp_path / "report.json"
    assert main(["verify", *paths, "--queries", "sampled", "--sample", "5", "--report", str(report)]) == 0
    assert json.loads(report.read_text())["passed"] is True
    with CollectionWriter.open(tmp_path / "two") as writer:
        writer.upsert([Document("d3", "other"), Document("e", "more")])
        writer.delete(["d5"])
    capsys.readouterr()
    assert main(["verify", *paths]) == 1
    printed = capsys.readouterr().out
    assert "'d3': its title, text or metadata differ" in printed and "FAILED" in printed
    assert "'d5' is not in" in printed and "'e' is not in" in printed
    assert main(["verify", str(tmp_path / "one"), "--qrels", "x"]) == 1
    assert "--qrels requires --against" in capsys.readouterr().err
