"""A collection with legs of words, of the real MiniLM's vectors and of term weights."""

from dataclasses import replace
from functools import partial

import pytest

from indexing.documents import Document
from pipelines import SearchPipeline, build_collection


@pytest.fixture(scope="package")
def documents(corpus) -> list[Document]:
    more = [
        replace(document, doc_id=f"{document.doc_id}-copy", metadata={"source": document.doc_id})
        for document in corpus[:3]
    ]
    return [
        *(replace(document, metadata={**document.metadata, "source": document.doc_id}) for document in corpus),
        *more,
        *(Document(f"n{at}", f"Item number {at} of {at % 7} in a list.", metadata={"at": at}) for at in range(60)),
    ]


@pytest.fixture(scope="package")
def collection(tmp_path_factory, documents, minilm, tiny_splade):
    path = tmp_path_factory.mktemp("search") / "collection"
    build_collection(documents, path, dense=minilm, sparse=tiny_splade, show_progress=False)
    return path


@pytest.fixture(scope="package")
def opened(collection, minilm, tiny_splade):
    return partial(SearchPipeline.open, collection, dense=minilm, sparse=tiny_splade)


@pytest.fixture(scope="package")
def pipeline(opened):
    with opened() as pipeline:
        yield pipeline
