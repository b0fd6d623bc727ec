"""A leg that is changed in place, read after a writer has ended in the midst of a write."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack

from indexing.collection.leg_writer import LegWriter
from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError, LaterStateError, StorageError
from indexing.token_vectors import TokenVectors

pytest.importorskip("qdrant_edge")

DIMENSION = 4
PARAMETERS = {
    "vectors": {"dimension": DIMENSION, "metric": "cosine"},
    "weights": {"columns": DIMENSION},
    "tokens": {"dimension": DIMENSION, "metric": "meanmaxsim"},
}
LEGS = {name: Leg("qdrant", {"name": name}, {**chosen, "engine": "edge"}) for name, chosen in PARAMETERS.items()}


def numbers(text):
    return np.random.default_rng(sum(map(ord, text))).normal(size=(3, DIMENSION)).astype(np.float32)


def rows(kind, texts):
    if kind == "vectors":
        return np.stack([numbers(text)[0] for text in texts])
    if kind == "weights":
        return vstack([csr_matrix(np.abs(numbers(text)[:1])) for text in texts], format="csr")
    return TokenVectors.of([numbers(text).astype(np.float16).astype(np.float32) for text in texts], DIMENSION)


def encoded(documents):
    texts = [document.text for document in documents]
    return {kind: rows(kind, texts) for kind in LEGS}


def document(number, text, color="red"):
    return Document(f"d{number}", f"{text} {number}", metadata={"color": color})


FIRST = [document(number, "old") for number in range(6)]
SECOND = [document(1, "new", "blue"), document(6, "new"), document(7, "new", "blue")]


def make(path):
    with CollectionWriter.create(path, LEGS, fields={"color": "keyword"}) as writer:
        writer.upsert(FIRST, encoded(FIRST))
    return path


def write(writer):
    writer.upsert(SECOND, encoded(SECOND))
    writer.delete(["d2", "d7"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same writes, committed."""
    path = make(tmp_path_factory.mktemp("whole") / "c")
    with CollectionWriter.open(path) as writer:
        write(writer)
    with Collection.open(path) as collection:
        yield collection


@pytest.fixture(params=["applied", "lost"])
def path(request, tmp_path, monkeypatch):
    """A collection whose writer ended before it committed; Edge has its changes, or never got them."""
    path = make(tmp_path / "c")
    writer = CollectionWriter.open(path, commit_seconds=1e9)
    with monkeypatch.context() as patched:
        if request.param == "lost":
            patched.setattr(LegWriter, "upsert", lambda *_: None)
            patched.setattr(LegWriter, "delete", lambda *_: None)
        write(writer)
    writer.close()
    return path


def found(index, queries, *options):
    return [[(hit.doc_id, hit.score) for hit in ranking] for ranking in index.search(queries, *options)]


@pytest.mark.parametrize("kind", LEGS)
def test_every_answer_is_that_of_the_present_documents(path, whole, kind):
    queries, ids = rows(kind, ["old 2", "new 6"]), ["d0", "d1", "d3", "d4", "d5", "d6"]
    with Collection.open(path) as collection:
        index, true = collection.index(kind), whole.index(kind)
        assert index.sequence == true.sequence == collection.documents.sequence
        for options in [(10,), (2,), (10, {"color": "red"}), (10, {"color": "blue"}), (1, {"not": {"color": "blue"}})]:
            for hits, wanted in zip(found(index, queries, *options), found(true, queries, *options), strict=True):
                assert [doc_id for doc_id, _ in hits] == [doc_id for doc_id, _ in wanted]
                np.testing.assert_allclose([s for _, s in hits], [s for _, s in wanted], rtol=1e-5, atol=1e-6)
        candidates = [["d6", "d0", "d1"], ["d3", "d1"]]
        np.testing.assert_allclose(index.score(queries, candidates), true.score(queries, candidates), rtol=1e-5)
        assert len(index) == len(true) == 6
        assert index.present([*ids, "d2", "d7", "d9"]).tolist() == [True] * 6 + [False] * 3
        assert "d6" in index and "d2" not in index
        if kind == "weights":
            terms = list("abcd")
            hits = index.search(queries, 3)
            for one, other in zip(
                index.matched_terms(queries, hits, terms), true.matched_terms(queries, hits, terms), strict=True
            ):
                assert [term for term, _ in one] == [term for term, _ in other]
        else:
            kept, wanted = index.vectors(ids), true.vectors(ids)
            if kind == "tokens":
                kept, wanted = kept.vectors, wanted.vectors
            np.testing.assert_allclose(kept, wanted, rtol=1e-5, atol=1e-6)


def test_what_was_deleted_or_is_unknown_is_no_candidate(path):
    with Collection.open(path) as collection:
        index = collection.index("vectors")
        for doc_id in ("d2", "d9"):
            with pytest.raises(InputError, match=f"the id '{doc_id}' is not in the index"):
                index.score(rows("vectors", ["old 2"]), [["d1", doc_id]])
        with pytest.raises(StorageError, match="open for reading only"):
            index.upsert(["d1"], rows("vectors", ["old 2"]))


def test_it_stays_so_through_a_refresh_and_after_the_next_writer(path, whole):
    queries = rows("vectors", ["new 6"])
    wanted = [doc_id for doc_id, _ in found(whole.index("vectors"), queries, 9)[0]]
    with Collection.open(path) as collection:
        for _ in range(3):
            assert [doc_id for doc_id, _ in found(collection.index("vectors"), queries, 9)[0]] == wanted
            collection.refresh()
        index = collection.index("vectors")
    with pytest.raises(StorageError, match="is closed"):
        index.search(queries, 1)
    with CollectionWriter.open(path) as writer:
        again = replace(SECOND[0], text="newer 1")
        writer.upsert([again], encoded([again]))
    with Collection.open(path) as collection:
        ((best, _), *_), *_ = found(collection.index("vectors"), rows("vectors", ["newer 1"]), 9)
        assert best == "d1"


def test_a_reader_that_has_read_an_older_state_must_move_before_it_opens_the_leg(tmp_path):
    path = make(tmp_path / "c")
    with Collection.open(path) as collection:
        assert len(collection) == 6
        writer = CollectionWriter.open(path, commit_seconds=1e9)
        write(writer)
        writer.close()
        with pytest.raises(LaterStateError, match="its leg 'vectors' is opened only now: refresh it"):
            collection.index("vectors")
        collection.refresh()
        assert len(collection.index("vectors")) == len(collection) == 6
        assert "d6" in collection.index("vectors")
