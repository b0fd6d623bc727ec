"""Pages of one query are cut from one ranking: fused, reranked, refined, in chunks, for several phrasings."""

import json
import random

import pytest

from indexing import Document
from indexing.collection.writer import CollectionWriter
from indexing.corpora.chunked import chunk_document
from indexing.corpora.chunking import Chunking
from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from pipelines.cli import main
from pipelines.search import Refine
from pipelines.search.parents import search_parents
from retrieve.reranking.budget import Budget

QUERY = "w1 w2 w3 w9"


def made(number: int, start: int = 0) -> list[Document]:
    draw = random.Random(start)
    words = [f"w{word}" for word in range(40)]
    return [
        Document(f"d{start + at:03}", " ".join(draw.choices(words, k=12)), metadata={"kind": at % 7})
        for at in range(number)
    ]


@pytest.fixture(scope="module")
def collection(tmp_path_factory, tiny_dense):
    path = tmp_path_factory.mktemp("pages") / "collection"
    build_collection(made(250), path, dense=tiny_dense, show_progress=False)
    return path


def ids(results) -> list[str]:
    return [result.doc_id for result in results]


@pytest.mark.parametrize("reranker", [None, "late-interaction"], ids=["", "reranked"])
@pytest.mark.parametrize("depth", [100, 15])
def test_pages_are_parts_of_the_one_long_list(collection, tiny_dense, reranker, depth):
    """Also below the depth of the legs, and below what the reranker reads."""
    with SearchPipeline.open(collection, dense=tiny_dense, reranker=reranker, depth=depth, candidates=30) as pipeline:
        long = pipeline.search(QUERY, k=130, offset=0)
        pages = [hit for at in range(0, 130, 10) for hit in pipeline.search(QUERY, k=10, offset=at)]
    assert ids(pages) == ids(long)
    assert len(set(ids(pages))) == 130
    assert [hit.rank for hit in pages] == list(range(1, 131))
    assert [hit.score for hit in pages] == [hit.score for hit in long]


def test_pages_follow_a_writer_only_when_the_pipeline_refreshes(tiny_dense, tmp_path):
    collection = tmp_path / "collection"
    build_collection(made(60), collection, dense=tiny_dense, show_progress=False)
    with SearchPipeline.open(collection, dense=tiny_dense) as pipeline:
        long = ids(pipeline.search(QUERY, k=40, offset=0))
        pages = []
        for at in range(0, 40, 10):
            with CollectionWriter.open(collection) as writer:
                extra = [Document(f"new{at}", QUERY)]
                writer.upsert(extra, {"dense": tiny_dense.encode_document([document.contents for document in extra])})
            pages += ids(pipeline.search(QUERY, k=10, offset=at))
        assert pages == long
        pipeline.refresh()
        assert "new0" in ids(pipeline.search(QUERY, k=10, offset=0))


def test_pages_of_several_phrasings_groups_and_diversity(collection, tiny_dense):
    with SearchPipeline.open(collection, dense=tiny_dense) as pipeline:
        phrasings = [QUERY, "w4 w5"]
        long = ids(pipeline.multi_search(phrasings, k=40, offset=0))
        assert [hit for at in (0, 10, 20, 30) for hit in ids(pipeline.multi_search(phrasings, k=10, offset=at))] == long
        for refine in (Refine(mmr=0.5), Refine(group_by="kind", pool=200), Refine(threshold=0.1, collapse=0.9)):
            long = ids(pipeline.search(QUERY, k=40, offset=0, refine=refine))
            pages = [ids(pipeline.search(QUERY, k=5, offset=at, refine=refine)) for at in range(0, 40, 5)]
            assert [hit for page in pages for hit in page] == long
            assert long


def test_a_page_explains_its_own_hits(collection, tiny_dense):
    with SearchPipeline.open(collection, dense=tiny_dense) as pipeline:
        long = pipeline.search(QUERY, k=6, offset=0, explain=True)
        page = pipeline.search(QUERY, k=3, offset=3, explain=True)
    assert [hit.explanation for hit in page] == [hit.explanation for hit in long[3:]]


def test_pages_are_cached_apart(collection, tiny_dense):
    with SearchPipeline.open(collection, dense=tiny_dense, cache=5) as pipeline:
        first, second = (ids(pipeline.search(QUERY, k=3, offset=at)) for at in (0, 3))
        assert not set(first) & set(second)
        again = pipeline.search(QUERY, k=3, offset=3)
    assert again.cached and ids(again) == second


def test_pages_of_documents_in_chunks(tmp_path):
    chunking = Chunking("tokens", size=4, overlap=0)
    chunks = [chunk for document in made(40) for chunk in chunk_document(document, chunking)]
    build_collection(chunks, tmp_path / "c", show_progress=False)
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        long = [parent.document.doc_id for parent in search_parents(pipeline, QUERY, 12, offset=0)]
        pages = [parent for at in range(0, 12, 4) for parent in search_parents(pipeline, QUERY, 4, offset=at)]
    assert [parent.document.doc_id for parent in pages] == long
    assert [parent.rank for parent in pages] == list(range(1, 13))


def test_what_no_page_can_be_is_refused(collection, tiny_dense):
    with SearchPipeline.open(collection, dense=tiny_dense, reranker="late-interaction") as pipeline:
        with pytest.raises(InputError, match="offset must be at least 0, not -1"):
            pipeline.search(QUERY, offset=-1)
        with pytest.raises(InputError, match=r"offset \+ k is 1,001: pages reach the first 1,000 hits"):
            pipeline.search(QUERY, k=1, offset=1000)
        with pytest.raises(InputError, match="mmr orders the best 50 hits: raise pool to at least 60"):
            pipeline.search(QUERY, k=10, offset=50, refine=Refine(mmr=0.5))
        notes = pipeline.search(QUERY, k=5, offset=5, budget=Budget(max_ms=1000)).notes
    assert any("max_ms limits what the reranker reads" in note for note in notes)


def test_the_command_line_shows_the_next_page(collection, capsys):
    found = []
    for at in ("0", "2"):
        assert main(["search", str(collection), QUERY, "--legs", "bm25", "-k", "2", "--offset", at, "--json"]) == 0
        found += json.loads(capsys.readouterr().out)["hits"]
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4]
    assert len({hit["doc_id"] for hit in found}) == 4
