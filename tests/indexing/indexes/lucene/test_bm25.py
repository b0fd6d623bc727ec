import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.indexes.lucene.analyzers import ANALYZERS, make_analyzer
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from lucene_documents import upsert_documents

NASTY_IDS = [
    "a,b",
    "[61 62]]",
    "doc=1 score=NaN shardIndex=0 fields=[9.9, [61]]",
    "two words",
    "new\nline",
    "\x00nul",
    "\x01",
    "tab\t",
    "\u2028",
    "é",
    "e\u0301",
    "日本",
    "\uffff",
    "😀",
    "null",
    '"quoted"',
    "\\",
    "x" * 32766,
]


@pytest.fixture
def index(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        yield index


def documents(**texts: str) -> list[Document]:
    return [Document(doc_id, text) for doc_id, text in texts.items()]


def found(index: Bm25Index, query: str, k: int = 10) -> list[str]:
    return index.search([query], k)[0].doc_ids


def test_finds_by_stemmed_words_of_title_and_text(index):
    upsert_documents(index, [Document("d1", "a text about foxes", "Title"), Document("d2", "nothing", "Running dogs")])

    assert found(index, "the fox") == ["d1"]
    assert found(index, "run dog") == ["d2"]


def test_an_index_without_words_has_statistics(index):
    """Empty, of texts without a word, and after all documents are deleted and dropped."""
    index.commit()
    assert index.words().totals == {"documents": 0, "words": 0, "distinct_words": 0, "average_length": 0.0}
    assert index.words().most_frequent(3) == []
    upsert_documents(index, [Document("d1", "!?"), Document("d2", "fox")])
    index.commit()
    assert [word for word, _ in index.words().most_frequent(3)] == ["fox"]
    index.delete(["d2"])
    index.optimize()
    index.commit()
    assert index.words().totals["distinct_words"] == 0 and index.words().most_frequent(3) == []


def test_scores_are_lucenes_bm25(index):
    # Lengths up to 40 are stored exactly in Lucene's one-byte norms.
    texts = {"d1": "fox fox dog", "d2": "fox " + "cat " * 9, "d3": "dog", "d4": "bird song"}
    upsert_documents(index, documents(**texts))

    def score(terms: list[str], query: str, k1: float = 0.9, b: float = 0.4) -> float:
        mean = sum(len(text.split()) for text in texts.values()) / len(texts)
        total = 0.0
        for term in query.split():
            holding = sum(term in text.split() for text in texts.values())
            idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            frequency = Counter(terms)[term]
            total += idf * frequency / (frequency + k1 * (1 - b + b * len(terms) / mean))
        return total

    for query in ("fox", "fox dog", "fox fox dog"):
        expected = {doc_id: score(text.split(), query) for doc_id, text in texts.items()}
        ranking = index.search([query], 10)[0]
        assert {hit.doc_id for hit in ranking} == {doc_id for doc_id, value in expected.items() if value > 0}
        assert [hit.score for hit in ranking] == pytest.approx([expected[hit.doc_id] for hit in ranking], rel=1e-6)


def test_own_parameters_are_kept_with_the_index(tmp_path):
    with Bm25Index.create(tmp_path / "index", k1=1.2, b=0.75) as index:
        upsert_documents(index, documents(d1="fox dog", d2="fox " * 5))
        before = index.search(["fox"], 2).scores.tolist()
    with Bm25Index.create(tmp_path / "default") as default:
        upsert_documents(default, documents(d1="fox dog", d2="fox " * 5))
        assert default.search(["fox"], 2).scores.tolist() != before

    with Bm25Index.open(tmp_path / "index") as index:
        assert index.search(["fox"], 2).scores.tolist() == before


def test_ties_go_by_doc_id_at_the_cutoff_too(index):
    ids = [f"d{number:04}" for number in range(3000)]
    upsert_documents(index, (Document(doc_id, "fox") for doc_id in reversed(ids)))

    assert found(index, "fox", 7) == ids[:7]
    assert found(index, "fox", 5000) == ids


@pytest.mark.parametrize("query", ["", "   ", "the of and", "unheardof", "!?"])
def test_a_query_without_a_known_word_has_no_hits(index, query):
    upsert_documents(index, documents(d1="fox"))

    hits = index.search([query, "fox", query], 10)

    assert hits.counts.tolist() == [0, 1, 0]


def test_a_batch_answers_as_its_queries_one_by_one(index):
    upsert_documents(
        index, (Document(f"d{number}", f"common word{number % 7} word{number % 11}") for number in range(500))
    )
    queries = [f"word{number % 13} common" for number in range(300)]

    batch = index.search(queries, 20)

    for number, query in enumerate(queries):
        alone = index.search([query], 20)[0]
        assert (batch[number].doc_ids, batch[number].scores.tolist()) == (alone.doc_ids, alone.scores.tolist())
    assert len(set(batch.ids.tolist())) == len(batch.ids)


def test_no_queries_and_an_empty_index_give_no_hits(index):
    assert len(index.search([], 5)) == 0
    assert index.search(["fox"], 5).counts.tolist() == [0]
    assert len(index) == 0


def test_ids_come_back_as_they_went_in(index):
    upsert_documents(index, (Document(doc_id, "fox") for doc_id in NASTY_IDS))

    assert found(index, "fox", 100) == sorted(NASTY_IDS)
    assert index.delete(NASTY_IDS) == len(NASTY_IDS)
    assert len(index) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), unique=True, min_size=1))
def test_any_ids_come_back_in_order_of_code_points(tmp_path_factory, ids):
    with Bm25Index.create(tmp_path_factory.mktemp("index") / "index") as index:
        upsert_documents(index, (Document(doc_id, "fox") for doc_id in ids))

        assert found(index, "fox", len(ids)) == sorted(ids)


def test_text_beyond_the_basic_plane_is_found(index):
    upsert_documents(index, documents(d1="𠮷野家", d2="smile 😀"))

    assert found(index, "𠮷野家") == ["d1"]
    assert found(index, "half \ud83d smile") == ["d2"]


def test_an_added_id_replaces_the_document(index):
    upsert_documents(index, documents(d1="fox", d2="dog"))
    upsert_documents(index, documents(d1="cat"))
    index.commit()
    upsert_documents(index, documents(d2="bird"))

    assert len(index) == 2
    assert (found(index, "fox"), found(index, "cat")) == ([], ["d1"])
    assert (found(index, "dog"), found(index, "bird")) == ([], ["d2"])


def test_a_replaced_document_of_an_earlier_session_is_gone(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        upsert_documents(index, documents(d1="fox"))
    with Bm25Index.open(tmp_path / "index") as index:
        upsert_documents(index, documents(d1="cat"))

        assert (len(index), found(index, "fox"), found(index, "cat")) == (1, [], ["d1"])


def test_a_deleted_id_may_come_back(index):
    upsert_documents(index, documents(d1="fox", d2="fox", d3="fox"))

    assert index.delete(["d1", "d1", "unknown"]) == 1
    assert (len(index), found(index, "fox")) == (2, ["d2", "d3"])

    upsert_documents(index, documents(d1="fox"))
    assert found(index, "fox") == ["d1", "d2", "d3"]


def test_an_id_twice_in_one_call_is_an_error_that_names_it(index):
    with pytest.raises(InputError, match="'d1' occurs 2 times"):
        upsert_documents(index, [Document("d1", "fox"), Document("d2", "dog"), Document("d1", "cat")])

    assert found(index, "fox dog cat") == []


def test_an_id_longer_than_lucene_takes_is_an_error(index):
    with pytest.raises(InputError, match="32,767 bytes"):
        upsert_documents(index, [Document("é" * 16383 + "x", "fox")])


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(index, k):
    with pytest.raises(InputError, match="k must be at least 1"):
        index.search(["fox"], k)


def test_a_string_for_a_list_is_an_error(index):
    with pytest.raises(InputError, match="list of strings"):
        index.search("fox", 10)
    with pytest.raises(InputError, match="list of ids"):
        index.delete("d1")


@pytest.mark.parametrize("wrong", [{"k1": -1}, {"k1": float("nan")}, {"b": 1.5}, {"b": float("nan")}])
def test_wrong_parameters_are_errors(tmp_path, wrong):
    with pytest.raises(InputError, match="must be"):
        Bm25Index.create(tmp_path / "index", **wrong)


def test_only_what_was_committed_is_there_after_close(tmp_path):
    index = Bm25Index.create(tmp_path / "index")
    upsert_documents(index, documents(d1="fox"))
    index.commit()
    upsert_documents(index, documents(d2="fox"))
    assert found(index, "fox") == ["d1", "d2"]
    index.close()
    index.close()

    with Bm25Index.open(tmp_path / "index", read_only=True) as again:
        assert (len(again), found(again, "fox")) == (1, ["d1"])


def test_a_block_that_fails_is_not_committed(tmp_path):
    with pytest.raises(RuntimeError), Bm25Index.create(tmp_path / "index") as index:
        upsert_documents(index, documents(d1="fox"))
        raise RuntimeError
    with Bm25Index.open(tmp_path / "index") as index:
        assert len(index) == 0


def test_a_second_writer_is_refused_a_reader_is_not(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        upsert_documents(index, documents(d1="fox"))
        index.commit()
        with pytest.raises(StorageError, match="already open for writing"):
            Bm25Index.open(tmp_path / "index")
        with Bm25Index.open(tmp_path / "index", read_only=True) as reader:
            assert found(reader, "fox") == ["d1"]
            with pytest.raises(StorageError, match="reading only"):
                upsert_documents(reader, documents(d2="dog"))
            with pytest.raises(StorageError, match="reading only"):
                reader.delete(["d1"])


def test_a_folder_without_such_an_index_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="nowhere is not a Lucene index"):
        Bm25Index.open(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="is not a Lucene index"):
        Bm25Index.open(tmp_path)
    with pytest.raises(StorageError, match="is not a Lucene index"):
        Bm25Index.open(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot be made a folder"):
        Bm25Index.create(tmp_path / "file")
    ImpactIndex.create(tmp_path / "impact", vocabulary=["fox"]).close()
    with pytest.raises(StorageError, match="of kind 'impact', not 'bm25'"):
        Bm25Index.open(tmp_path / "impact")
    with pytest.raises(StorageError, match="already holds an index"):
        Bm25Index.create(tmp_path / "impact")


def test_a_damaged_index_is_a_storage_error(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        upsert_documents(index, documents(d1="fox"))
    segments = max((tmp_path / "index").glob("segments_*"))
    segments.write_bytes(segments.read_bytes()[:-10])

    with pytest.raises(StorageError, match=r"index: \w+"):
        Bm25Index.open(tmp_path / "index")


def test_a_closed_index_says_so(tmp_path):
    index = Bm25Index.create(tmp_path / "index")
    index.close()

    for use in (
        lambda: index.search(["fox"], 1),
        lambda: upsert_documents(index, []),
        lambda: len(index),
        index.commit,
    ):
        with pytest.raises(StorageError, match="is closed"):
            use()


def test_size_counts_the_files(index):
    before = index.size_bytes
    upsert_documents(index, (Document(f"d{number}", f"word{number}") for number in range(1000)))
    index.commit()

    assert index.size_bytes > before + 1000


def test_threads_search_while_another_adds_and_deletes(index):
    upsert_documents(index, (Document(f"fox{number}", "fox") for number in range(50)))
    done = threading.Event()

    def change() -> None:
        for number in range(40):
            upsert_documents(index, [Document(f"dog{number}", "dog")])
            index.delete([f"dog{number - 1}"])
        done.set()

    def search() -> set[tuple[int, int]]:
        seen = set()
        while not done.is_set():
            hits = index.search(["fox", "dog"], 100)
            seen.add((int(hits.counts[0]), min(1, abs(int(hits.counts[1]) - 1))))
        return seen

    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        pool.submit(change).result()
        # One dog exists at a time, except between an add and a delete.
        assert all(result.result() <= {(50, 0), (50, 1)} for result in searches)
    assert found(index, "dog") == ["dog39"]


@pytest.mark.parametrize(
    ("analyzer", "text", "query"),
    [
        ("de", "die schönen Häuser", "Haus"),
        ("fr", "les chevaux nationaux", "national"),
        ("ru", "новые книги", "книга"),
        ("ja", "東京都に住んでいます", "東京"),
        ("zh", "信息检索系统", "检索"),
        ("uk", "великі книжки", "книжка"),
        ("whitespace", "C++ rocks", "C++"),
    ],
)
def test_other_languages_find_words_in_other_forms(tmp_path, analyzer, text, query):
    with Bm25Index.create(tmp_path / "index", analyzer=analyzer) as index:
        upsert_documents(index, documents(d1=text, d2="nothing"))
    with Bm25Index.open(tmp_path / "index", read_only=True) as index:
        assert found(index, query) == ["d1"]


def test_every_analyzer_can_be_made_and_an_unknown_one_lists_them(tmp_path):
    for name in ANALYZERS:
        assert make_analyzer(name) is not None
    with pytest.raises(InputError, match="unknown analyzer 'klingon': choose one of anserini-default-english"):
        Bm25Index.create(tmp_path / "index", analyzer="klingon")


def test_composed_and_decomposed_letters_are_different_words(tmp_path):
    """As in Anserini, whose scores are kept: a corpus of mixed forms has to be normalized before it is indexed."""
    with Bm25Index.create(tmp_path / "i") as index:
        upsert_documents(index, [Document("composed", "caf\u00e9"), Document("decomposed", "cafe\u0301")])
        index.commit()
        assert index.search(["caf\u00e9"], 2)[0].doc_ids == ["composed"]
        assert index.search(["cafe\u0301"], 2)[0].doc_ids == ["decomposed"]
