"""A collection whose BM25 leg is in Qdrant: built, rebuilt, updated, searched, described and compacted."""

import numpy as np
import pytest

from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.search.pipeline import SearchPipeline

DOCUMENTS = [
    Document(
        f"d{number}",
        f"text {' '.join(f'word{n}' for n in range(number % 7))} about topic{number % 5}",
        f"Title {number}",
    )
    for number in range(40)
]


def ranked(path, query="topic3 word4 title"):
    with SearchPipeline.open(path, legs=["bm25"]) as pipeline:
        return {hit.doc_id: hit.score for hit in pipeline.search(query, 40)}


@pytest.fixture
def both(tmp_path):
    """The same documents with BM25 in Lucene and in Qdrant."""
    build_collection(DOCUMENTS, tmp_path / "lucene", show_progress=False)
    build_collection(DOCUMENTS, tmp_path / "qdrant", bm25_index="qdrant", show_progress=False)
    return tmp_path / "lucene", tmp_path / "qdrant"


def test_both_backends_find_the_same_with_equal_scores(both, capsys):
    expected, found = map(ranked, both)
    assert found == pytest.approx(expected, rel=1e-3) and len(found) == 40
    with SearchPipeline.open(both[1], legs=["bm25"]) as pipeline:
        (hit,) = pipeline.search("topic3", 1, explain=True)
    assert "topic3" in str(hit.explanation)


def test_a_leg_moves_between_the_backends_and_keeps_how_it_scores(both, capsys):
    lucene, _ = both
    assert main(["reindex", str(lucene), "--leg", "bm25", "--k1", "1.5", "--b", "0.7", "--quiet"]) == 0
    expected = ranked(lucene)
    assert main(["reindex", str(lucene), "--leg", "bm25", "--backend", "qdrant", "--quiet"]) == 0
    assert "bm25 holds 40 documents in qdrant" in capsys.readouterr().out
    with Collection.open(lucene) as collection:
        leg = collection.leg("bm25")
    assert leg.rows == "text" and leg.parameters["k1"] == 1.5
    assert ranked(lucene) == pytest.approx(expected, rel=1e-3)
    assert main(["reindex", str(lucene), "--leg", "bm25", "--backend", "bm25", "--quiet"]) == 0
    assert ranked(lucene) == pytest.approx(expected, rel=1e-6)


def test_drift_is_named_by_info_and_verify_until_compact(both, capsys):
    lucene, qdrant = both
    longer = [Document("d1", DOCUMENTS[1].text + " topic3", DOCUMENTS[1].title)]
    for path in both:
        with CollectionWriter.open(path) as collection:
            collection.upsert(longer)
            collection.delete(["d2"])
    capsys.readouterr()
    assert main(["info", str(qdrant)]) == 0
    assert "documents are weighted for a mean length of" in capsys.readouterr().out
    assert [problem.what for problem in verify(qdrant)] == ["drift", "drift"]
    assert main(["verify", str(qdrant)]) == 0
    for path in both:
        assert main(["compact", str(path), "--quiet"]) == 0
    assert verify(qdrant) == []
    assert ranked(qdrant) == pytest.approx(ranked(lucene), rel=1e-3)


def test_what_qdrant_cannot_score_is_refused_before_anything_is_built(both, tmp_path):
    with pytest.raises(InputError, match="which has no parameter 'weights'"):
        build_collection(DOCUMENTS, tmp_path / "c", bm25_index="qdrant", bm25_fields={"title": 2.0, "text": 1.0})
    build_collection(DOCUMENTS, tmp_path / "fields", bm25_fields={"title": 2.0, "text": 1.0}, show_progress=False)
    with (
        CollectionWriter.open(tmp_path / "fields") as collection,
        pytest.raises(InputError, match="parameter 'weights', by which it scores"),
    ):
        collection.reindex("bm25", backend="qdrant")
    with SearchPipeline.open(both[1], legs=["bm25"]) as pipeline:
        with pytest.raises(InputError, match="has operators"):
            pipeline.search('"topic3 word1"', query_syntax="simple")
        assert np.isfinite(pipeline.search("topic3", query_syntax="simple")[0].score)


def test_feedback_names_what_it_lacks(both):
    config = {"legs": {"bm25": {"feedback": "rm3"}}}
    with (
        SearchPipeline.open(both[1], config=config) as pipeline,
        pytest.raises(InputError, match="no statistics of words, which feedback needs"),
    ):
        pipeline.search("topic3")
