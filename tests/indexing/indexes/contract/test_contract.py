"""What every index does, whatever it is made of. With QDRANT_URL set, a Qdrant server is held to it as well."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from indexing.errors import InputError, StorageError

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


def fill(backend: Any, index: Any, numbers: Sequence[int], contents: Sequence[int] | None = None) -> None:
    payload = backend.payload(list(numbers) if contents is None else contents)
    backend.upsert(index, ids_of(numbers), payload, metadata_of(numbers))


def same(found: Any, expected: Any) -> None:
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.doc_ids == expected.doc_ids
    np.testing.assert_allclose(found.scores, expected.scores, rtol=2e-6, atol=2e-6)


@pytest.fixture
def backend(make_backend):
    return make_backend()


@pytest.fixture(scope="module")
def filled(make_backend):
    """A backend with an index of documents 0 to 199, which no test changes."""
    backend = make_backend()
    index = backend.create()
    fill(backend, index, range(200))
    yield backend, index
    index.close()


def test_finds_the_best_in_order_for_a_batch_and_one_by_one(filled):
    backend, index = filled
    queries = backend.payload(range(300, 310))
    batch = backend.search(index, queries, 20)

    expected = backend.scores(range(200), range(300, 310))
    for number in range(10):
        alone = backend.search(index, backend.payload([300 + number]), 20)
        assert alone[0].doc_ids == batch[number].doc_ids
        np.testing.assert_allclose(alone.scores, batch[number].scores, rtol=1e-6)
        assert (np.diff(batch[number].scores) <= 0).all()
        if expected is not None:
            order = np.argsort(-expected[number], kind="stable")[:20]
            assert batch[number].doc_ids == ids_of(order.tolist())
            np.testing.assert_allclose(batch[number].scores, expected[number][order], rtol=1e-5)
    assert batch.scores.dtype == np.float32


def test_an_upsert_replaces_and_doing_it_twice_changes_nothing(make_backend):
    backend, clean = make_backend(), make_backend()
    index, other = backend.create(), clean.create()
    fill(backend, index, range(100))
    for _ in range(2):
        fill(backend, index, range(50, 150), contents=range(1050, 1150))
    fill(clean, other, [*range(50), *range(50, 150)], contents=[*range(50), *range(1050, 1150)])
    index.optimize()
    other.optimize()

    assert len(index) == len(other) == 150
    queries = backend.payload(range(2000, 2008))
    same(backend.search(index, queries, 30), clean.search(other, queries, 30))
    index.close()
    other.close()


def test_what_is_deleted_is_gone_and_may_come_back(make_backend):
    backend, clean = make_backend(), make_backend()
    index, other = backend.create(), clean.create()
    fill(backend, index, range(200))
    fill(clean, other, range(120))

    assert backend.delete(index, [*ids_of(range(100, 200)), "unknown", "d0100"]) == 100
    assert backend.delete(index, ids_of(range(100, 200))) == 0
    assert backend.delete(index, []) == 0
    fill(backend, index, range(100, 120))
    index.optimize()
    other.optimize()

    assert len(index) == 120
    queries = backend.payload(range(2000, 2008))
    same(backend.search(index, queries, 200), clean.search(other, queries, 200))
    with pytest.raises(InputError, match="list of ids"):
        backend.delete(index, "d0000")
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
    backend, index = filled
    queries = backend.payload(range(300, 304))
    everything = backend.search(index, queries, 200)
    values = [metadata_of([int(doc_id[1:])])[0] for doc_id in everything.doc_ids]
    for written in FILTERS:
        expected = everything.where(np.array([kept_by(written, one) for one in values], bool))
        same(backend.search(index, queries, 200, filter=written), expected)
        same(backend.search(index, queries, 3, filter=written), expected.top(3))


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
    backend, index = filled
    with pytest.raises(InputError, match="declared are lang, year, seen, draft"):
        backend.search(index, backend.payload([1]), 3, filter={"yaer": 2020})


def test_given_candidates_get_the_scores_of_a_search(filled):
    backend, index = filled
    queries = backend.payload(range(300, 303))
    found = backend.search(index, queries, 200)
    candidates = [[*ranking.doc_ids[5:9], ranking.doc_ids[0], ranking.doc_ids[-1]] for ranking in found]
    expected = np.concatenate([ranking.scores[[5, 6, 7, 8, 0, len(ranking) - 1]] for ranking in found])

    np.testing.assert_allclose(index.score(queries, candidates), expected, rtol=2e-6)
    assert index.score(backend.payload([300, 301]), [[], candidates[1][:1]]).tolist() == pytest.approx([expected[6]])
    with pytest.raises(InputError, match="'nobody' is not in the index"):
        index.score(queries, [["d0000"], ["d0001", "nobody"], []])
    with pytest.raises(InputError, match="1 lists of candidates for 3 queries"):
        index.score(queries, [["d0000"]])


def test_what_was_committed_is_there_after_open(backend):
    index = backend.create()
    assert index.sequence == 0
    fill(backend, index, range(200))
    backend.delete(index, ids_of(range(190, 200)))
    index.commit(sequence=17)
    queries = backend.payload(range(300, 305))
    before = backend.search(index, queries, 50)
    size = index.size_bytes
    index.close()

    for read_only in (False, True):
        again = backend.open(read_only=read_only)
        assert (len(again), again.sequence) == (190, 17)
        same(backend.search(again, queries, 50), before)
        same(
            backend.search(again, queries, 50, filter={"lang": "en"}),
            backend.search(again, queries, 200, filter={"lang": "en"}).top(50),
        )
        if read_only:
            with pytest.raises(StorageError, match="reading only"):
                fill(backend, again, [1])
            with pytest.raises(StorageError, match="reading only"):
                backend.delete(again, ["d0001"])
            with pytest.raises(StorageError, match="reading only"):
                again.commit()
        again.close()
    assert size > 0

    index = backend.open()
    fill(backend, index, [500])
    index.commit(sequence=18)
    index.commit()
    index.close()
    with backend.open() as last:
        assert (len(last), last.sequence) == (191, 18)


def test_create_does_not_overwrite_and_open_explains(make_backend):
    backend = make_backend()
    with backend.create():
        pass
    with pytest.raises(StorageError, match="already holds an index"):
        backend.create()
    with pytest.raises(StorageError, match="is not a"):
        make_backend().open()


def test_an_empty_index_and_an_empty_batch_find_nothing(backend):
    index = backend.create()
    queries = backend.payload([300, 301])
    assert backend.search(index, queries, 5).counts.tolist() == [0, 0]
    assert backend.search(index, queries, 5, filter={"year": 2000}).counts.tolist() == [0, 0]
    fill(backend, index, [])
    index.commit()
    index.optimize()
    assert len(index) == 0
    assert len(backend.search(index, backend.payload([]), 5)) == 0
    index.close()


def test_k_may_exceed_what_there_is_and_must_be_positive(filled):
    backend, index = filled
    queries = backend.payload([300])
    found = backend.search(index, queries, 5000)
    assert 150 < len(found[0]) <= 200
    assert len(set(found.doc_ids)) == len(found[0])
    assert len(backend.search(index, queries, 5000, filter={"year": 2001})[0]) <= 4
    with pytest.raises(InputError, match="k must be at least 1"):
        backend.search(index, queries, 0)


def test_an_id_twice_in_one_call_is_refused(backend):
    index = backend.create()
    with pytest.raises(InputError, match="'d0900' stands"):
        backend.upsert(index, ["d0900", "d0901", "d0900"], backend.payload([1, 2, 3]), [{}, {}, {}])
    index.close()


def test_bad_vectors_are_refused_and_nothing_is_stored(filled):
    backend, index = filled
    for payload in backend.bad().values():
        with pytest.raises(InputError):
            backend.upsert(index, ["d0900"], payload, [{}])
        with pytest.raises(InputError):
            backend.search(index, payload, 5)
    assert len(index) == 200


def test_any_string_can_be_an_id(backend):
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
    index = backend.create()
    backend.upsert(index, odd, backend.payload(range(len(odd))), [{} for _ in odd])
    index.commit()
    found = backend.search(index, backend.payload([0, 3]), 100)
    assert set(found[0].doc_ids) <= set(odd) and len(found[0]) > 10
    scores = index.score(backend.payload([0]), [found[0].doc_ids])
    np.testing.assert_allclose(scores, found[0].scores, rtol=2e-6)
    assert backend.delete(index, odd) == len(odd)
    assert len(index) == 0
    index.close()
