import pytest

from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError, StorageError

ONE = Document("1", "body", "title", {"year": 2020, "tags": ["a"]})
TWO = Document("ü 2", "second")


@pytest.fixture
def store(tmp_path) -> DocumentStore:
    return DocumentStore.create(tmp_path / "documents.sqlite")


def test_gives_back_what_was_added_in_the_order_asked(store):
    store.upsert([ONE, TWO])
    assert store.get(["ü 2", "1", "ü 2"]) == [TWO, ONE, TWO]
    assert store.contents(["1", "ü 2"]) == ["title body", "second"]
    assert list(store) == [ONE, TWO]
    assert len(store) == 2
    assert "1" in store
    assert "3" not in store


def test_replaces_an_id_that_is_there_and_refuses_one_that_occurs_twice(store):
    store.upsert([ONE])
    store.upsert([Document("1", "new")])
    assert store.get(["1"])[0].text == "new"
    assert len(store) == 1

    with pytest.raises(InputError, match="'1' occurs 2 times"):
        store.upsert([TWO, ONE, ONE])
    assert "ü 2" not in store


def test_deletes(store):
    store.upsert([ONE, TWO])
    assert store.delete(["1", "nothing"]) == 1
    assert list(store) == [TWO]


def test_the_journal_gives_the_deletes_of_a_part_of_it(store):
    store.upsert([Document(f"d{number}", "text") for number in range(9)])
    for ids in (["d8", "d1"], ["d0", "d7", "d2"], ["d3"]):
        store.delete(ids)
    store.upsert([Document("d7", "again")])
    assert [sorted(ids) for ids in store.deletes(1)] == [["d0", "d1", "d2", "d3", "d8"]]
    assert list(store.deletes(1, 3, size=2)) == [["d1", "d8"], ["d0", "d2"]]
    assert list(store.deletes(2, 3)) == [["d0", "d2"]]
    assert not list(store.deletes(4)) and not list(store.deletes(1, 1))


def test_an_unknown_id_is_an_error_that_names_it(store):
    with pytest.raises(InputError, match="'nothing' is not in"):
        store.get(["nothing"])


def test_metadata_that_json_cannot_hold_is_refused(store):
    with pytest.raises(InputError, match="document 'x': its metadata"):
        store.upsert([ONE, Document("x", "text", metadata={"when": float("nan")})])
    with pytest.raises(InputError, match="document 'x': its metadata"):
        store.upsert([ONE, Document("x", "text", metadata={"half": "\ud800"})])
    assert len(store) == 0


def test_any_id_is_found_again(store):
    documents = [Document(doc_id, "text") for doc_id in ("a\0b", "a", "\0", "a'b", '"', "%", "é", "\U0001f600", "\n")]
    store.upsert(documents)
    assert store.get([document.doc_id for document in documents]) == documents


def test_gives_more_documents_than_one_statement_takes(store):
    store.upsert([Document(str(number), "text") for number in range(25_000)])
    assert len(store.contents([str(number) for number in range(25_000)])) == 25_000


def test_iterates_past_one_page(store):
    store.upsert([Document(str(number), "text") for number in range(2500)])
    assert [document.doc_id for document in store] == [str(number) for number in range(2500)]


def test_reopens_and_explains_what_is_no_store(tmp_path, store):
    store.upsert([ONE])
    store.close()
    assert list(DocumentStore.open(store.path)) == [ONE]
    with pytest.raises(StorageError, match="is missing"):
        DocumentStore.open(tmp_path / "none.sqlite")
    (tmp_path / "bad.sqlite").write_bytes(b"no database at all, but long enough to look at" * 40)
    with pytest.raises(StorageError, match="is not a document store"):
        DocumentStore.open(tmp_path / "bad.sqlite")
    with pytest.raises(StorageError, match="already exists"):
        DocumentStore.create(store.path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", "text"), "non-empty string"),
        ((7, "text"), "non-empty string"),
        (("a", None), "text must be a string"),
        (("a", "text", 3), "title must be a string"),
        (("a", "half \ud800"), "half of a surrogate pair"),
    ],
)
def test_a_document_that_no_index_could_hold_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        Document(*arguments)
