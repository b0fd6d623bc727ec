"""A pipeline after it is closed, and in a forked process."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import StorageError
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.lucene.bm25 import Bm25Index
from pipelines import SearchPipeline, build_collection
from pipelines.search.highlight import highlight
from pipelines.search.parents import search_parents

DOCUMENTS = [Document("b1", "Bread bakes in a hot oven."), Document("s1", "Steel melts."), Document("v1", "A vaccine.")]


@pytest.fixture
def hybrid_path(tmp_path, tiny_dense):
    build_collection(DOCUMENTS, tmp_path / "h", dense=tiny_dense, show_progress=False)
    return tmp_path / "h"


class TestClosed:
    CLOSED = "this pipeline is closed: open it again"

    def test_every_use_says_so(self, hybrid_path, tiny_dense):
        with SearchPipeline.open(hybrid_path, dense=tiny_dense) as pipeline:
            collection, hybrid = pipeline.collection, pipeline.retriever
            legs = [pipeline.leg("dense"), pipeline.leg("bm25")]
        pipeline.close()
        for use in (
            lambda: pipeline.search("bread"),
            lambda: pipeline.batch_search({"q": "bread"}),
            lambda: pipeline.multi_search(["bread", "oven"]),
            lambda: pipeline.retrieve(["bread"]),
            lambda: asyncio.run(pipeline.asearch("bread")),
            pipeline.refresh,
            lambda: highlight(pipeline, "bread", ["bread"]),
            lambda: search_parents(pipeline, "bread"),
        ):
            with pytest.raises(StorageError, match=self.CLOSED):
                use()
        for use in (
            lambda: hybrid.search("bread"),
            lambda: legs[0].search("bread"),
            lambda: legs[1].search(["bread"]),
            lambda: collection.get(["b1"]),
            lambda: len(collection),
            lambda: collection.index("dense"),
            collection.refresh,
        ):
            with pytest.raises(StorageError, match="is closed: open it again"):
                use()

    @pytest.mark.parametrize("kind", [FaissIndex, Bm25Index])
    def test_a_closed_index_says_so(self, hybrid_path, kind):
        name = "dense" if kind is FaissIndex else "bm25"
        with CollectionWriter.open(hybrid_path) as writer:
            folder = writer.index(name).path
        index = kind.open(folder, read_only=True)
        index.close()
        uses = [lambda: index.search(["bread"], 2), lambda: len(index)]
        for use in [*uses, lambda: "b1" in index] if kind is FaissIndex else uses:
            with pytest.raises(StorageError, match="is closed: open it again"):
                use()

    def test_a_search_that_runs_while_the_pipeline_is_closed_ends_in_peace(self, hybrid_path, tiny_dense):
        pipeline = SearchPipeline.open(hybrid_path, dense=tiny_dense)
        with ThreadPoolExecutor(1) as other, pipeline.reading():
            other.submit(pipeline.close).result()
            found = pipeline.collection.snapshot.parts[pipeline].retriever.search("bread oven", 2)
            assert len(found) == 2
        with pytest.raises(StorageError, match=self.CLOSED):
            pipeline.search("bread")

    def test_a_closed_pool_of_encoding_processes_says_so(self, tiny_dense):
        pool = tiny_dense.start_multi_process_pool(["cpu"])
        pool.close()
        with pytest.raises(StorageError, match="this pool of encoding processes is closed: open it again"):
            tiny_dense.encode(["bread"], pool=pool)


class TestForked:
    @pytest.mark.parametrize(
        "legs",
        [None, *(pytest.param([leg], marks=pytest.mark.slow) for leg in ("dense", "bm25"))],
        ids=["hybrid", "dense", "bm25"],
    )
    def test_a_forked_process_is_asked_to_spawn(self, hybrid_path, legs, tiny_dense):
        """In a process of its own, as pytest's threads would not survive the fork either."""
        code = (
            "import asyncio, faulthandler, os, sys\n"
            "from indexing.errors import SetupError\nfrom pipelines import SearchPipeline\n"
            f"pipeline = SearchPipeline.open({str(hybrid_path)!r}, legs={legs!r})\n"
            "assert pipeline.search('bread oven', 2)\n"
            "uses = (lambda: pipeline.search('bread', 2), lambda: asyncio.run(pipeline.asearch('bread', 2)),\n"
            "        lambda: pipeline.retriever.search('bread', 2), lambda: pipeline.collection.get(['b1']))\n"
            "if os.fork() == 0:\n"
            "    faulthandler.dump_traceback_later(30, exit=True)\n"
            "    for use in uses[:2] if pipeline.retriever.name == 'dense' else uses:\n"
            "        try:\n            use()\n"
            "        except SetupError as error:\n            print('spawn' in str(error), flush=True)\n"
            "    pipeline.close()\n"
            "    print('closed', flush=True)\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "print(len(pipeline.search('bread oven', 1)))\n"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert ran.stdout.split() == ["True"] * (2 if legs == ["dense"] else 4) + ["closed", "1"], ran.stderr
