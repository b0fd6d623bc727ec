"""The contract suite of every kind of index. With QDRANT_URL set, a Qdrant server is tested as well."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from index_rows import TERMS, write_elsewhere
from indexing.collection.legs import file_sums
from indexing.errors import InputError, StorageError

VOCABULARY = [f"t{number}" for number in range(TERMS)]
LANGUAGES = ["en", "de", "fr"]


def ids_of(numbers: Sequence[int]) -> list[str]:
    return [f"d{number:04}" for number in numbers]


def metadata_of(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """A third each of three languages; years repeat; some fields are missing."""
    found = []
    for number in numbers:
        one: dict[str, Any] = {"year": 2000 + number % 50, "seen": f"2020-01-{1 + number % 28:02}"}
        if number % 4:
            one["lang"] = LANGUAGES[number % 3] if number % 5 else [LANGUAGES[number % 3], "la"]
        if number % 2:
            one["draft"] = number % 3 == 0
        found.append(one)
    return found


def fill(subject: Any, index: Any, numbers: Sequence[int], contents: Sequence[int] | None = None) -> None:
    payload = subject.payload(list(numbers) if contents is None else contents)
    subject.upsert(index, ids_of(numbers), payload, metadata_of(numbers))


def same(found: Any, expected: Any) -> None:
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.doc_ids == expected.doc_ids
    np.testing.assert_allclose(found.scores, expected.scores, rtol=2e-6, atol=2e-6)


@pytest.fixture
def subject(make_subject):
    return make_subject()


@pytest.fixture(scope="module")
def filled(make_subject):
    """A subject with an index of documents 0 to 199, which no test changes."""
    subject = make_subject()
    index = subject.create()
    fill(subject, index, range(200))
    yield subject, index
    index.close()


def test_finds_the_best_in_order_for_a_batch_and_one_by_one(filled):
    subject, index = filled
    queries = subject.payload(range(300, 310))
    batch = index.search(queries, 20)

    expected = subject.scores(range(200), range(300, 310))
    for number in range(10):
        alone = index.search(subject.payload([300 + number]), 20)
        assert alone[0].doc_ids == batch[number].doc_ids
        np.testing.assert_allclose(alone.scores, batch[number].scores, rtol=1e-6)
        assert (np.diff(batch[number].scores) <= 0).all()
        if expected is not None:
            order = np.argsort(-expected[number], kind="stable")[:20]
            assert batch[number].doc_ids == ids_of(order.tolist())
            np.testing.assert_allclose(batch[number].scores, expected[number][order], rtol=1e-5)
    assert batch.scores.dtype == np.float32


def test_an_upsert_replaces_and_doing_it_twice_changes_nothing(make_subject):
    subject, clean = make_subject(), make_subject()
    index, other = subject.create(), clean.create()
    fill(subject, index, range(100))
    for _ in range(2):
        fill(subject, index, range(50, 150), contents=range(1050, 1150))
    fill(clean, other, [*range(50), *range(50, 150)], contents=[*range(50), *range(1050, 1150)])
    index.optimize()
    other.optimize()

    assert len(index) == len(other) == 150
    queries = subject.payload(range(2000, 2008))
    same(index.search(queries, 30), other.search(queries, 30))
    index.close()
    other.close()


def test_what_is_deleted_is_gone_and_may_come_back(make_subject):
    subject, clean = make_subject(), make_subject()
    index, other = subject.create(), clean.create()
    fill(subject, index, range(200))
    fill(clean, other, range(120))

    assert index.delete([*ids_of(range(100, 200)), "unknown", "d0100"]) == 100
    assert index.delete(ids_of(range(100, 200))) == 0
    assert index.delete([]) == 0
    fill(subject, index, range(100, 120))
    index.optimize()
    other.optimize()

    assert len(index) == 120
    queries = subject.payload(range(2000, 2008))
    same(index.search(queries, 200), other.search(queries, 200))
    with pytest.raises(InputError, match="list of ids"):
        index.delete("d0000")
    index.close()
    other.close()


FILTERS = [
    {"lang": "en"},
    {"lang": ["de", "la"]},
    {"year": {"gte": 2010, "lt": 2013}},
    {"year": 2049},
    {"seen": {"gt": "2020-01-05", "lte": "2020-01-07T00:00:00Z"}},
    {"draft": True, "not": {"lang": "fr"}},
    {"or": [{"lang": {"exists": False}}, {"draft": False}]},
    {"year": {"gt": 3000}},
    {"lang": []},
    {},
]


def test_a_filter_keeps_just_its_documents_and_their_scores(filled):
    subject, index = filled
    queries = subject.payload(range(300, 304))
    everything = index.search(queries, 200)
    values = [metadata_of([int(doc_id[1:])])[0] for doc_id in everything.doc_ids]
    for written in FILTERS:
        expected = everything.where(np.array([kept_by(written, one) for one in values], bool))
        same(index.search(queries, 200, filter=written), expected)
        same(index.search(queries, 3, filter=written), expected.top(3))


def kept_by(written: dict[str, Any], values: dict[str, Any]) -> bool:
    languages = values.get("lang", [])
    languages = languages if isinstance(languages, list) else [languages]
    answers = {
        str(FILTERS[0]): "en" in languages,
        str(FILTERS[1]): "de" in languages or "la" in languages,
        str(FILTERS[2]): 2010 <= values["year"] < 2013,
        str(FILTERS[3]): values["year"] == 2049,
        str(FILTERS[4]): values["seen"] in ("2020-01-06", "2020-01-07"),
        str(FILTERS[5]): values.get("draft") is True and "fr" not in languages,
        str(FILTERS[6]): not languages or values.get("draft") is False,
        str(FILTERS[7]): False,
        str(FILTERS[8]): False,
        str(FILTERS[9]): True,
    }
    return answers[str(written)]


def test_a_filter_of_an_unknown_field_lists_the_known(filled):
    subject, index = filled
    with pytest.raises(InputError, match="declared are lang, year, seen, draft"):
        index.search(subject.payload([1]), 3, filter={"yaer": 2020})


def test_given_candidates_get_the_scores_of_a_search(filled):
    subject, index = filled
    queries = subject.payload(range(300, 303))
    found = index.search(queries, 200)
    candidates = [[*ranking.doc_ids[5:9], ranking.doc_ids[0], ranking.doc_ids[-1]] for ranking in found]
    expected = np.concatenate([ranking.scores[[5, 6, 7, 8, 0, len(ranking) - 1]] for ranking in found])

    np.testing.assert_allclose(index.score(queries, candidates), expected, rtol=2e-6)
    assert index.score(subject.payload([300, 301]), [[], candidates[1][:1]]).tolist() == pytest.approx([expected[6]])
    with pytest.raises(InputError, match="'nobody' is not in the index"):
        index.score(queries, [["d0000"], ["d0001", "nobody"], []])
    with pytest.raises(InputError, match="1 list of candidates for 3 queries"):
        index.score(queries, [["d0000"]])


def test_what_was_committed_is_there_after_open(subject):
    index = subject.create()
    assert index.sequence == 0
    fill(subject, index, range(200))
    index.delete(ids_of(range(190, 200)))
    index.commit(sequence=17)
    queries = subject.payload(range(300, 305))
    before = index.search(queries, 50)
    size = index.size_bytes
    index.close()

    for read_only in (False, True):
        again = subject.open(read_only=read_only)
        assert (len(again), again.sequence) == (190, 17)
        same(again.search(queries, 50), before)
        same(
            again.search(queries, 50, filter={"lang": "en"}),
            again.search(queries, 200, filter={"lang": "en"}).top(50),
        )
        if read_only:
            with pytest.raises(StorageError, match="reading only"):
                fill(subject, again, [1])
            with pytest.raises(StorageError, match="reading only"):
                again.delete(["d0001"])
            with pytest.raises(StorageError, match="reading only"):
                again.commit()
        again.close()
    assert size > 0

    index = subject.open()
    fill(subject, index, [500])
    index.commit(sequence=18)
    index.commit()
    index.close()
    with subject.open() as last:
        assert (len(last), last.sequence) == (191, 18)


def test_create_does_not_overwrite_and_open_explains(make_subject):
    subject = make_subject()
    with subject.create():
        pass
    with pytest.raises(StorageError, match="already holds an index"):
        subject.create()
    with pytest.raises(StorageError, match="is not a"):
        make_subject().open()


def test_an_empty_index_and_an_empty_batch_find_nothing(subject):
    index = subject.create()
    queries = subject.payload([300, 301])
    assert index.search(queries, 5).counts.tolist() == [0, 0]
    assert index.search(queries, 5, filter={"year": 2000}).counts.tolist() == [0, 0]
    fill(subject, index, [])
    index.commit()
    index.optimize()
    assert len(index) == 0
    assert len(index.search(subject.payload([]), 5)) == 0
    index.close()


def test_k_may_exceed_what_there_is_and_must_be_positive(filled):
    subject, index = filled
    queries = subject.payload([300])
    found = index.search(queries, 5000)
    assert 150 < len(found[0]) <= 200
    assert len(set(found.doc_ids)) == len(found[0])
    assert len(index.search(queries, 5000, filter={"year": 2001})[0]) <= 4
    with pytest.raises(InputError, match="k must be at least 1"):
        index.search(queries, 0)


def test_an_id_twice_in_one_call_is_refused(subject):
    index = subject.create()
    with pytest.raises(InputError, match="'d0900' occurs"):
        subject.upsert(index, ["d0900", "d0901", "d0900"], subject.payload([1, 2, 3]), [{}, {}, {}])
    index.close()


def test_bad_vectors_are_refused_and_nothing_is_stored(filled):
    subject, index = filled
    for payload in subject.bad():
        with pytest.raises(InputError):
            index.upsert(["d0900"], payload, [{}])
        with pytest.raises(InputError):
            index.search(payload, 5)
    assert len(index) == 200


def test_any_string_can_be_an_id(subject):
    odd = [
        "two words",
        "é",
        "日本",
        "😀",
        "a,b",
        "[61]",
        '"quoted"',
        "\\",
        "AND",
        "x" * 5000,
        "tab\t",
        "a/b",
        "null",
        "0",
    ]
    index = subject.create()
    subject.upsert(index, odd, subject.payload(range(len(odd))), [{} for _ in odd])
    index.commit()
    found = index.search(subject.payload([0, 3]), 100)
    assert set(found[0].doc_ids) <= set(odd) and len(found[0]) > 10
    scores = index.score(subject.payload([0]), [found[0].doc_ids])
    np.testing.assert_allclose(scores, found[0].scores, rtol=2e-6)
    assert index.delete(odd) == len(odd)
    assert len(index) == 0
    index.close()


def test_a_reader_sees_another_process_only_after_refresh(subject):
    if subject.one_process:
        pytest.skip("one process at a time opens this engine")
    with subject.create() as index:
        fill(subject, index, range(100))
        index.commit(sequence=1)
    reader = subject.open(read_only=True)
    queries = subject.payload([7, 500])
    before = reader.search(queries, 200)
    seven = reader.score(subject.payload([7]), [["d0007"]])
    assert not reader.refresh()

    elsewhere = {"upsert": {"new": 500, "d0003": 7}, "delete": ["d0007"], "sequence": 2}
    subject.record(["new", "d0003"], subject.payload([500, 7]), [{}, {}])
    write_elsewhere(subject.path, subject.kind.backend, subject.parameters, **elsewhere)
    if not subject.shared:
        same(reader.search(queries, 200), before)
        assert (len(reader), reader.sequence) == (100, 1)
    assert reader.refresh()
    assert (len(reader), reader.sequence) == (100, 2)
    found = reader.search(queries, 200)
    assert "new" in found[1].doc_ids and "d0007" not in found.doc_ids
    if subject.rows != "text":
        np.testing.assert_allclose(reader.score(subject.payload([7]), [["d0003"]]), seven, rtol=2e-6)

    write_elsewhere(subject.path, subject.kind.backend, subject.parameters, optimize=True, sequence=3)
    assert reader.refresh()
    assert (len(reader), reader.sequence) == (100, 3)
    compacted = reader.search(queries, 200)
    assert [set(ranking.doc_ids) for ranking in compacted] == [set(ranking.doc_ids) for ranking in found]
    if subject.rows != "text":  # BM25's statistics count deleted documents until `optimize`
        same(compacted, found)
    assert not reader.refresh()
    reader.close()


def test_a_checksum_covers_files_that_never_change_under_their_names(subject):
    index = subject.create()
    fill(subject, index, range(100))
    index.commit(sequence=1)
    sums = file_sums(subject.path, index.files(), {})
    fill(subject, index, range(100, 160))
    index.delete(ids_of(range(10)))
    index.commit(sequence=2)
    later = file_sums(subject.path, index.files(), {})

    assert bool(sums) != subject.name.startswith("qdrant")
    assert later != sums or not sums
    assert not [name for name in sums.keys() & later.keys() if sums[name] != later[name] and ".json" not in name]
    index.close()


def test_matched_terms_add_up_to_the_score(filled):
    subject, index = filled
    queries = subject.payload(range(300, 303))
    hits = index.search(queries, 10)
    terms = index.matched_terms(queries, hits, VOCABULARY)

    if subject.rows in ("vectors", "tokens"):
        assert terms is None
        return
    assert terms is not None and len(terms) == len(hits.doc_ids)
    assert {term.rpartition(":")[2] for of_hit in terms for term, _ in of_hit} <= set(VOCABULARY)
    np.testing.assert_allclose([sum(part for _, part in of_hit) for of_hit in terms], hits.scores, rtol=1e-5)


def test_a_closed_index_says_so_and_closing_twice_is_harmless(subject):
    index = subject.create()
    fill(subject, index, range(10))
    index.close()
    index.close()
    uses = (lambda: index.search(subject.payload([1]), 3), lambda: index.commit(), lambda: index.delete(["d0001"]))
    for use in (*uses, lambda: index.score(subject.payload([1]), [["d0001"]]), lambda: len(index), index.refresh):
        with pytest.raises(StorageError, match="is closed: open it again"):
            use()


def test_the_kind_refuses_before_the_journal_what_the_index_would_refuse(subject):
    good = subject.payload([1, 2]) if subject.rows != "text" else None
    subject.kind.check(["d1", "d2"], good, subject.parameters)
    for payload in subject.bad():
        with pytest.raises(InputError):
            subject.kind.check(["d1"], payload, subject.parameters)
    if subject.rows != "text":
        with pytest.raises(InputError, match="are needed"):
            subject.kind.check(["d1"], good, subject.parameters)
        with pytest.raises(InputError, match="are needed, not list"):
            subject.kind.check(["d1", "d2"], [[1.0], [2.0]], subject.parameters)
