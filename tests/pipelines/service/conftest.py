"""A collection, and a server of it."""

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


@pytest.fixture
def collection(tmp_path, documents, minilm):
    path = tmp_path / "notes"
    build_collection(documents, path, dense=minilm, fields={"topic": "keyword", "year": "number"}, show_progress=False)
    return path


@pytest.fixture(scope="module")
def shared_collection(tmp_path_factory, documents, minilm):
    path = tmp_path_factory.mktemp("served") / "notes"
    build_collection(documents, path, dense=minilm, fields={"topic": "keyword", "year": "number"}, show_progress=False)
    return path


@pytest.fixture(scope="module")
def server(shared_collection):
    from pipelines.service.config import ServeConfig

    with serving(ServeConfig().with_collections([str(shared_collection)])) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client
