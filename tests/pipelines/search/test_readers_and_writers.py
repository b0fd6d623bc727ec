"""An open pipeline while another process changes its collection."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.collection.writer import CollectionWriter
from indexing.corpora.chunked import chunk_document
from indexing.corpora.chunking import Chunking
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from pipelines import SearchPipeline, build_collection
from pipelines.build.job import Plan, build_legs
from pipelines.search import pipeline as pipeline_module
from pipelines.search.config import update_search_file
from pipelines.search.highlight import highlight
from pipelines.search.parents import search_parents
from retrieve.hybrid import HybridRetriever
from retrieve.reranking.late_interaction import LateInteractionReranker
from retrieve.retrievers import Bm25Retriever, DenseRetriever

DOCUMENTS = [Document("b1", "Bread bakes in a hot oven."), Document("s1", "Steel melts."), Document("v1", "A vaccine.")]


@pytest.fixture
def path(tmp_path):
    build_collection(DOCUMENTS, tmp_path / "c", show_progress=False)
    return tmp_path / "c"


@pytest.fixture
def hybrid_path(tmp_path, tiny_dense):
    build_collection(DOCUMENTS, tmp_path / "h", dense=tiny_dense, show_progress=False)
    return tmp_path / "h"


def retrieve(*arguments):
    subprocess.run([sys.executable, "-m", "pipelines.cli", *map(str, arguments)], check=True, env=os.environ)


def ids(pipeline, query="bread oven"):
    return [hit.doc_id for hit in pipeline.search(query, 3)]


def hits(pipeline):
    return [(hit.doc_id, hit.text, sorted(hit.legs)) for hit in pipeline.search("bread oven", 3)]


def update(documents, encoder, path):
    with CollectionWriter.open(path, encoders={"dense": encoder}) as writer:
        writer.upsert(documents)


class TestStates:
    def test_deletes_and_compactions_elsewhere_are_seen_after_refresh_and_not_before(self, path):
        with (
            SearchPipeline.open(path, cache=16) as pipeline,
            SearchPipeline.open(path, refresh=0) as following,
        ):
            assert ids(pipeline) == ids(following) == ["b1"]
            retrieve("delete", path, "--ids", "b1")
            retrieve("compact", path)
            assert ids(pipeline) == ids(pipeline, "bread") == ["b1"], "a reader is a snapshot"
            assert len(pipeline.collection) == 3
            assert ids(following) == []
            pipeline.refresh()
            assert ids(pipeline) == ids(pipeline, "bread") == [], "no answer of the older state is given"
            assert len(pipeline.collection) == 2

    def test_an_overwritten_collection_is_opened_as_a_whole(self, path, tmp_path):
        file = tmp_path / "new.jsonl"
        file.write_text('{"_id": "n1", "text": "Another bread from another oven."}\n')
        with SearchPipeline.open(path, cache=4) as pipeline, SearchPipeline.open(path, refresh=0) as following:
            assert ids(pipeline) == ids(following) == ["b1"]
            retrieve("index", file, "--to", path, "--overwrite", "--no-dense")
            assert ids(pipeline) == ["b1"]
            assert ids(following) == ["n1"]
            pipeline.refresh()
            assert [hit.text for hit in pipeline.search("bread")] == ["Another bread from another oven."]

    def test_a_leg_first_needed_after_an_overwrite_moves_the_pipeline_as_a_whole(self, hybrid_path, tiny_dense):
        with SearchPipeline.open(hybrid_path, legs=["bm25"], cache=4) as pipeline:
            before = ids(pipeline)
            build_collection(DOCUMENTS[:1], hybrid_path, dense=tiny_dense, overwrite=True, show_progress=False)
            assert ids(pipeline) == before, "what it has opened stays"
            assert len(pipeline.leg("dense").search("bread")) == 1
            assert ids(pipeline) == ["b1"] and len(pipeline.collection) == 1

    def test_a_search_that_needs_such_a_leg_is_of_the_new_state_from_its_beginning(self, hybrid_path, tiny_dense):
        """A query with operators looks words up in the text index, which a dense pipeline has not opened."""
        with SearchPipeline.open(hybrid_path, legs=["dense"], dense=tiny_dense) as pipeline:
            new = [Document(f"n{number}", f"bread {number}") for number in range(3)]
            build_collection(new, hybrid_path, dense=tiny_dense, overwrite=True, show_progress=False)
            (first,) = pipeline.batch_search({"a": "+bread"}, 5, query_syntax="simple").values()
            assert sorted(hit.doc_id for hit in first) == ["n0", "n1", "n2"]
            assert all(hit.text.startswith("bread") for hit in first)

    def test_a_block_that_reads_one_state_never_moves(self, hybrid_path, tiny_dense):
        with SearchPipeline.open(hybrid_path, legs=["dense"], dense=tiny_dense) as pipeline:
            with pipeline.reading():
                before = ids(pipeline)
                build_collection(DOCUMENTS[:1], hybrid_path, dense=tiny_dense, overwrite=True, show_progress=False)
                with pytest.raises(StorageError, match="was replaced since it was opened: refresh it"):
                    pipeline.search("+bread", query_syntax="simple")
                assert ids(pipeline) == before
            assert len(pipeline.search("+bread", query_syntax="simple")) == 1

    def test_a_collection_that_is_replaced_while_it_is_opened_is_opened_as_a_whole(
        self, hybrid_path, tiny_dense, monkeypatch
    ):
        """Also while it is refreshed: the second leg is opened when the first one's collection is gone."""
        new = [[Document(f"{letter}{number}", "bread") for number in range(3)] for letter in "xy"]
        opened = Snapshot._opened

        def late(snapshot, leg, name):
            if name == "dense" and new:
                build_collection(new.pop(0), hybrid_path, dense=tiny_dense, overwrite=True, show_progress=False)
            return opened(snapshot, leg, name)

        monkeypatch.setattr(Snapshot, "_opened", late)
        with SearchPipeline.open(hybrid_path, dense=tiny_dense) as pipeline:
            assert ids(pipeline) == ["y0", "y1", "y2"]
            assert {leg for *_, legs in hits(pipeline) for leg in legs} == {"bm25", "dense"}
            new.append([Document("z", "bread")])
            build_collection(
                [Document("z0", "bread")], hybrid_path, dense=tiny_dense, overwrite=True, show_progress=False
            )
            pipeline.refresh()
            assert ids(pipeline) == ["z"]

    @pytest.mark.parametrize("leg", ["bm25", "dense"])
    @pytest.mark.parametrize("given", [False, True], ids=["opened", "given-loaded"])
    def test_reindexing_any_leg_keeps_the_hits_before_and_after_refresh(self, hybrid_path, tiny_dense, leg, given):
        if given:
            collection = Collection.open(hybrid_path)
            legs = [
                Bm25Retriever(collection.index("bm25")),
                DenseRetriever(tiny_dense, collection.index("dense"), name="dense"),
            ]
            opened = SearchPipeline(HybridRetriever(legs), collection)
        else:
            opened = SearchPipeline.open(hybrid_path, dense=tiny_dense)
        with opened as pipeline:
            before = hits(pipeline)
            assert all("dense" in legs for *_, legs in before) and any("bm25" in legs for *_, legs in before)
            with CollectionWriter.open(hybrid_path) as writer:
                writer.reindex(leg, **({"kind": "hnsw"} if leg == "dense" else {"k1": 0.9}))
            assert hits(pipeline) == before
            pipeline.collection.refresh()
            assert hits(pipeline) == before
            assert pipeline.collection.index(leg).path.name == f"{leg}.1"

    def test_an_update_moves_texts_legs_and_reranker_together(self, hybrid_path, tiny_dense):
        reranker = LateInteractionReranker(tiny_dense)
        with SearchPipeline.open(hybrid_path, dense=tiny_dense, reranker=reranker, cache=4) as pipeline:
            old = hits(pipeline)
            update([Document("b1", "Rye bread from an oven.")], tiny_dense, hybrid_path)
            assert hits(pipeline) == old
            pipeline.refresh()
            assert {doc_id: text for doc_id, text, _ in hits(pipeline)}["b1"] == "Rye bread from an oven."
            assert pipeline.reranker is reranker

    def test_a_failed_refresh_changes_nothing(self, hybrid_path, tiny_dense, caplog):
        with (
            SearchPipeline.open(hybrid_path, dense=tiny_dense) as pipeline,
            SearchPipeline.open(hybrid_path, dense=tiny_dense, refresh=0) as following,
        ):
            before = hits(pipeline)
            update([Document("b1", "Rye bread from an oven.")], tiny_dense, hybrid_path)
            (hybrid_path / "legs" / "dense" / "settings.json").write_text("{}")
            with pytest.raises(StorageError):
                pipeline.refresh()
            assert hits(pipeline) == hits(following) == before
            assert "cannot be refreshed; searches see the older state" in caplog.text

    def test_a_tuned_configuration_is_read_by_the_next_refresh(self, hybrid_path, tiny_dense):
        with (
            SearchPipeline.open(hybrid_path, dense=tiny_dense) as pipeline,
            SearchPipeline.open(hybrid_path, dense=tiny_dense, refresh=0) as following,
            SearchPipeline.open(hybrid_path, dense=tiny_dense, refresh=0, config={}) as given,
        ):
            update_search_file(hybrid_path, {"legs": ["bm25"]})
            assert len(hits(pipeline)) == len(hits(given)) == 3
            assert [found[::2] for found in hits(following)] == [("b1", ["bm25"])]
            pipeline.refresh()
            assert [found[::2] for found in hits(pipeline)] == [("b1", ["bm25"])]

    def test_embedded_qdrant_legs_stay_open_through_a_refresh(self, tmp_path, tiny_dense):
        shape = {"dimension": tiny_dense.dimension, "metric": "cosine"}
        legs = {
            "words": Leg("bm25"),
            "edge": Leg("qdrant", tiny_dense.identity, shape | {"engine": "edge"}),
            "local": Leg("qdrant", tiny_dense.identity, shape | {"engine": "local"}),
        }
        plan = Plan(legs, dict.fromkeys(("edge", "local"), tiny_dense))
        build_legs(DOCUMENTS, tmp_path / "q", plan, show_progress=False)
        with SearchPipeline.open(tmp_path / "q", dense=tiny_dense) as pipeline:
            before, index = hits(pipeline), pipeline.collection.index("edge")
            assert ["edge", "local", "words"] in [legs for *_, legs in before]
            for _ in range(2):
                pipeline.refresh()
                assert hits(pipeline) == before
            assert pipeline.collection.index("edge") is index
        with pytest.raises(StorageError, match="is closed"):
            len(index)

    def test_parents_and_highlights_are_of_the_state_of_their_search(self, tmp_path):
        parent = Document("p", "Bread bakes in an oven. It smells good. Then it is eaten with butter.")
        chunks = chunk_document(parent, Chunking(by="sentences", size=6, overlap=0))
        build_collection(chunks, tmp_path / "c", show_progress=False)
        with SearchPipeline.open(tmp_path / "c", refresh=0) as pipeline, pipeline.reading():
            (found,) = search_parents(pipeline, "bread")
            with CollectionWriter.open(tmp_path / "c") as writer:
                writer.delete([chunk.doc_id for chunk in chunks])
            assert [result.document.text for result in search_parents(pipeline, "bread")] == [parent.text]
            marked = highlight(pipeline, "baking", [found.document.text])[0].marked()
            assert "**bakes**" in marked
        with SearchPipeline.open(tmp_path / "c") as pipeline:
            assert search_parents(pipeline, "bread") == []


class TestRefreshing:
    def test_a_pipeline_follows_another_process_that_writes(self, path, tmp_path, monkeypatch):
        monkeypatch.setattr("pipelines.search.following.AUTO_REFRESH_SECONDS", 0.0)
        code = (
            "import sys\nfrom indexing.collection.writer import CollectionWriter\n"
            "from indexing.documents import Document\n"
            "for number in range(3):\n"
            "    with CollectionWriter.open(sys.argv[1]) as writer:\n"
            "        writer.upsert([Document(f'n{number}', 'Bread from an oven')])\n"
            "    print(number, flush=True)\n    sys.stdin.readline()\n"
        )
        with SearchPipeline.open(path, refresh="auto", cache=4) as pipeline:
            assert pipeline.search("bread oven", 9)[0].doc_id == "b1"
            arguments = [sys.executable, "-c", code, str(path)]
            with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
                for number in range(3):
                    assert other.stdout.readline() == f"{number}\n"
                    found = {hit.doc_id for hit in pipeline.search("bread oven", 9)}
                    assert found == {"b1", *(f"n{at}" for at in range(number + 1))}
                    other.stdin.write("\n")
                    other.stdin.flush()

    @pytest.mark.parametrize("refresh", [True, -1, float("nan"), "often"])
    def test_a_wrong_interval_is_refused(self, path, refresh):
        with pytest.raises(InputError, match="refresh must be None, 'auto' or a number of seconds"):
            SearchPipeline.open(path, refresh=refresh)

    def test_searches_from_eight_threads_see_whole_states_while_others_write_and_refresh(self, hybrid_path, tiny_dense):
        """Each search answers with texts and hits of one write, and the states of a thread never go back."""
        stop, errors = threading.Event(), []

        def write(number):
            with CollectionWriter.open(hybrid_path, encoders={"dense": tiny_dense}) as writer:
                writer.delete([f"x{number - 1}"])
                writer.upsert([Document(f"x{number}", f"Bread oven state {number}"), Document("b1", f"Bread {number}")])
                if number % 3 == 0:
                    writer.compact()

        write(0)
        with SearchPipeline.open(hybrid_path, dense=tiny_dense, cache=8) as pipeline:

            def search():
                last = 0
                try:
                    while not stop.is_set():
                        texts = {hit.doc_id: hit.text for hit in pipeline.search("bread oven state", 9)}
                        (found,) = [int(doc_id[1:]) for doc_id in texts if doc_id.startswith("x")]
                        assert texts["b1"] == f"Bread {found}"
                        assert found >= last
                        last = found
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=search) for _ in range(8)]
            for thread in threads:
                thread.start()
            for number in range(1, 10):
                write(number)
                pipeline.refresh()
            stop.set()
            for thread in threads:
                thread.join()
            assert not errors
            assert {hit.doc_id for hit in pipeline.search("bread oven state", 9)} == {"b1", "s1", "v1", "x9"}
            assert len(pipeline.collection._live) == 1, "states that nobody reads are closed"


def test_an_answer_is_cached_for_the_state_that_it_was_computed_at(path, monkeypatch):
    with SearchPipeline.open(path, cache=4) as pipeline:
        answer = pipeline_module.SearchPipeline._one
        with CollectionWriter.open(path) as writer:
            writer.delete(["b1"])
        with pipeline.reading() as (_, parts):
            old = answer(pipeline, "bread", *_request())
            assert [hit.doc_id for hit in old] == ["b1"]
            with ThreadPoolExecutor(1) as other:
                other.submit(pipeline.refresh).result()
            assert [hit.doc_id for hit in pipeline.search("oven")] == ["b1"], "this block keeps its state"
        assert parts.cache is not pipeline.cache
        assert ids(pipeline, "bread") == ids(pipeline, "oven") == []


def _request():
    from pipelines.search.stages import SearchRequest

    return (SearchRequest(10),)


def test_hits_without_documents_are_left_out_and_counted(path):
    """As an index on a server returns them, which is newer than the state that the reader holds."""
    with SearchPipeline.open(path) as pipeline:
        store = pipeline.collection.documents
        store._connection.execute("ROLLBACK")
        with CollectionWriter.open(path) as writer:
            writer.delete(["b1"])
            writer.compact()
        store.hold()
        results = pipeline.search("bread melts")
        assert [hit.doc_id for hit in results] == ["s1"]
        assert results.degraded
        assert results.failures == {"documents": "hits left out because their documents are no longer stored: 1"}


def test_wrong_arguments_are_refused_when_a_pipeline_is_opened(path):
    for wrong, message in (
        ({"fusion": 3}, "fusion must be"),
        ({"candidates": 0}, "candidates must be at least 1, not 0"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"cache": -1}, "cache must be at least 0, not -1"),
    ):
        with pytest.raises(InputError, match=message):
            SearchPipeline.open(path, **wrong)
    with SearchPipeline.open(path) as pipeline:
        for queries in ({"q": "bread"}, "bread", {"bread"}):
            with pytest.raises(InputError, match="must be a list of strings"):
                pipeline.retrieve(queries)
