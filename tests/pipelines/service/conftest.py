"""A collection, and a server of it."""

import shutil

import httpx
import pytest

from indexing.documents import Document
from pipelines.build.job import build_collection
from service_tests import serving

pytest.importorskip("uvicorn")

EXTRA = [
    Document(f"n{number}", f"Note {number} about {topic}.", f"Note {number}", {"topic": topic, "year": 2000 + number})
    for number, topic in enumerate(["matrices", "bread", "networks", "bread", "sorting"] * 4)
]


@pytest.fixture(scope="session")
def documents(corpus):
    return [*corpus, *EXTRA]


FIELDS = {"topic": "keyword", "year": "number"}


@pytest.fixture(scope="package")
def shared_collection(tmp_path_factory, documents, minilm):
    path = tmp_path_factory.mktemp("served") / "notes"
    build_collection(documents, path, dense=minilm, fields=FIELDS, show_progress=False)
    (path / "search.yaml").write_text("tenants: topic\n")
    return path


@pytest.fixture(scope="package")
def shared_words(tmp_path_factory, documents):
    """The same documents without vectors: a process that serves them starts fast, without torch."""
    path = tmp_path_factory.mktemp("words") / "notes"
    build_collection(documents, path, fields=FIELDS, show_progress=False)
    return path


@pytest.fixture
def collection(tmp_path, shared_collection):
    return shutil.copytree(shared_collection, tmp_path / "notes")


@pytest.fixture
def words(tmp_path, shared_words):
    return shutil.copytree(shared_words, tmp_path / "notes")


@pytest.fixture(scope="package")
def model_entries(tiny_splade, tiny_cross_encoder):
    """Entries of a configuration for a sparse encoder and a cross-encoder, beside the collection's own dense one."""
    from pipelines.service.config import ModelEntry

    return {
        "splade": ModelEntry(str(tiny_splade.checkpoint.folder), "sparse", "float32"),
        "cross": ModelEntry(str(tiny_cross_encoder.checkpoint.folder), "cross-encoder", "float32"),
    }


@pytest.fixture(scope="package")
def server(shared_collection):
    from pipelines.service.config import ServeConfig

    with serving(ServeConfig().with_collections([str(shared_collection)])) as (url, _):
        yield url


@pytest.fixture(scope="package")
def client(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client
