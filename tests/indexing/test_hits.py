"""Hits: the order of rankings, and the invariants of every operation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.hits import Hit, Hits, LegColumns, LegHit, align, encode_strings, string_array

# Few ids and few scores, so that ties are frequent; ids whose order by code point, by UTF-16 and by locale differ.
doc_ids = st.sampled_from(["a", "B", "b", "é", "z", "10", "9", "文", "𝒟", "￿", "a b", "a\0", ""]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=4
)
scores = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf]) | st.floats(-5, 5)
answers = st.dictionaries(doc_ids, scores, max_size=12)
batches = st.lists(answers, max_size=5)


def in_house_order(answer):
    return sorted(answer, key=lambda doc_id: (-answer[doc_id], doc_id))


def names_of(batch):
    return [f"q{number}" for number in range(len(batch))]


def hits_of(batch):
    return Hits.from_run(dict(zip(names_of(batch), batch, strict=True)), names_of(batch))


def in_columns(batch, order):
    """Return the batch as triples in the given order, over a table that also holds ids without a hit."""
    triples = [(row, doc_id, score) for row, answer in enumerate(batch) for doc_id, score in answer.items()]
    order.shuffle(triples)
    table = sorted({doc_id for _, doc_id, _ in triples} | {"never hit"}, reverse=True)
    place = {doc_id: code for code, doc_id in enumerate(table)}
    return (
        np.array([row for row, _, _ in triples], dtype=np.int64),
        np.array([place[doc_id] for _, doc_id, _ in triples], dtype=np.int64),
        np.array([score for _, _, score in triples], dtype=np.float32),
        string_array(table),
    )


@given(batches)
def test_each_ranking_falls_by_score_and_rises_by_doc_id_where_scores_tie(batch):
    hits = hits_of(batch)

    assert [ranking.doc_ids for ranking in hits] == [in_house_order(answer) for answer in batch]


@given(batches, st.randoms(use_true_random=False), st.none() | st.integers(0, 6))
def test_the_order_of_loose_triples_does_not_matter_and_ties_at_the_cutoff_go_by_doc_id(batch, order, k):
    batch = [{doc_id: float(np.float32(score)) for doc_id, score in answer.items()} for answer in batch]

    hits = Hits.ranked(len(batch), *in_columns(batch, order), k=k)

    assert [ranking.doc_ids for ranking in hits] == [in_house_order(answer)[:k] for answer in batch]
    assert hits.scores.dtype == np.float32


@given(batches)
def test_a_run_comes_back_as_it_went_in(batch):
    run = dict(zip(names_of(batch), batch, strict=True))

    back = Hits.from_run(run, names_of(batch)).to_run(names_of(batch))

    assert back == run
    assert [list(answer) for answer in back.values()] == [in_house_order(answer) for answer in batch]


@given(batches, st.integers(0, 6))
def test_top_keeps_the_best_k_of_each_query(batch, k):
    hits = hits_of(batch)

    assert [ranking.doc_ids for ranking in hits.top(k)] == [in_house_order(answer)[:k] for answer in batch]


@given(batches, st.data())
def test_where_keeps_what_is_marked_in_its_order_with_its_provenance(batch, data):
    hits = hits_of(batch).as_leg("first")
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(hits.codes), max_size=len(hits.codes))), dtype=bool)

    kept = hits.where(keep)

    marked = iter(keep)
    assert [list(ranking) for ranking in kept] == [
        [Hit(hit.doc_id, hit.score, rank, hit.legs) for rank, hit in enumerate(chosen, start=1)]
        for chosen in ([hit for hit in ranking if next(marked)] for ranking in hits)
    ]


@given(batches)
def test_ranks_counts_and_rows_describe_the_columns(batch):
    hits = hits_of(batch)

    assert hits.counts.tolist() == [len(answer) for answer in batch]
    assert hits.rows.tolist() == [row for row, answer in enumerate(batch) for _ in answer]
    assert hits.ranks.tolist() == [rank for answer in batch for rank in range(1, len(answer) + 1)]
    assert len(hits) == len(batch)


@given(st.lists(batches, min_size=1, max_size=4))
def test_aligned_codes_are_equal_exactly_where_doc_ids_are(several):
    parts = [hits_of(batch) for batch in several]

    ids, codes = align(parts)

    assert [ids[part].tolist() for part in codes] == [hits.doc_ids for hits in parts]
    used = {doc_id for hits in parts for doc_id in hits.doc_ids}
    assert len(set(np.concatenate(codes).tolist())) == len(used)


def test_answers_over_one_table_are_aligned_without_touching_their_codes():
    hits = Hits.from_run({"q": {"a": 1.0, "b": 2.0}}, ["q"])

    ids, codes = align([hits, hits.top(1)])

    assert ids is hits.ids
    assert codes[0] is hits.codes


@given(st.lists(batches, max_size=4))
def test_concatenated_batches_answer_one_after_another(several):
    joined = Hits.concatenate([hits_of(batch) for batch in several])

    assert [ranking.doc_ids for ranking in joined] == [in_house_order(answer) for batch in several for answer in batch]


@given(batches, st.data())
def test_a_part_answers_its_queries_as_the_whole_does(batch, data):
    hits = hits_of(batch).as_leg("first")
    start = data.draw(st.integers(0, len(batch)))
    stop = data.draw(st.integers(start, len(batch)))

    assert [list(ranking) for ranking in hits.part(start, stop)] == [list(hits[row]) for row in range(start, stop)]


@given(st.lists(doc_ids, max_size=20))
def test_coded_strings_read_back(strings):
    table, codes = encode_strings(strings)

    assert table[codes].tolist() == strings
    assert table.tolist() == list(dict.fromkeys(strings))


def test_queries_without_hits_stand_where_they_are():
    hits = Hits.from_run({"q2": {"a": 1.0}}, ["q1", "q2", "q3"])

    assert [len(ranking) for ranking in hits] == [0, 1, 0]
    assert hits.to_run(["q1", "q2", "q3"]) == {"q1": {}, "q2": {"a": 1.0}, "q3": {}}


@pytest.mark.parametrize("queries", [0, 3])
def test_no_hits_at_all_are_hits_too(queries):
    hits = Hits.empty(queries)

    assert len(hits) == queries
    assert hits.top(5).doc_ids == []
    assert [ranking.doc_ids for ranking in hits] == [[]] * queries
    assert Hits.ranked(queries, hits.rows, hits.codes, hits.scores, hits.ids, k=5).counts.tolist() == [0] * queries


def test_a_score_that_is_not_a_number_is_refused_with_the_document_and_query():
    with pytest.raises(InputError, match=r"'bad'.*query number 1.*NaN"):
        Hits.from_run({"q1": {"fine": 1.0}, "q2": {"fine": 1.0, "bad": float("nan")}}, ["q1", "q2"])


def test_as_many_query_ids_as_rows_are_needed_to_name_them():
    with pytest.raises(ValueError, match="zip"):
        Hits.empty(2).to_run(["only one"])


def test_provenance_follows_its_hits_into_the_new_order():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    first = Hits.from_run(run, ["q"])
    legs = {"first": LegColumns(first.ranks.astype(np.int32), first.scores)}

    reranked = Hits.ranked(1, first.rows, first.codes, np.array([0.1, 0.2, 0.3]), first.ids, k=2, legs=legs)

    assert list(reranked[0]) == [
        Hit("c", 0.3, 1, {"first": LegHit(3, 1.0)}),
        Hit("b", 0.2, 2, {"first": LegHit(2, 2.0)}),
    ]


def test_a_hit_names_only_the_legs_that_found_it():
    hits = Hits.from_run({"q": {"a": 2.0, "b": 1.0}}, ["q"])
    legs = {"bm25": LegColumns(np.array([1, 0], dtype=np.int32), np.array([7.5, np.nan]))}

    ranked = Hits.ranked(1, hits.rows, hits.codes, hits.scores, hits.ids, legs=legs)[0]

    assert ranked[0].legs == {"bm25": LegHit(1, 7.5)}
    assert ranked[1].legs == {}


def test_a_ranking_reads_like_a_list_of_hits():
    ranking = Hits.from_run({"q": {"a": 1.0, "b": 3.0, "c": 2.0}}, ["q"])[0]

    assert [hit.doc_id for hit in ranking] == ranking.doc_ids == ["b", "c", "a"]
    assert ranking[-1] == Hit("a", 1.0, 3)
    assert [hit.rank for hit in ranking[1:]] == [2, 3]
    assert list(ranking.as_hits()[0]) == list(ranking)
    assert repr(ranking) == "Ranking(3 hits: 'b': 3.0000, 'c': 2.0000, 'a': 1.0000)"
    with pytest.raises(IndexError):
        ranking[3]


def test_a_query_beyond_the_last_is_an_index_error_and_minus_one_is_the_last():
    hits = Hits.from_run({"q2": {"a": 1.0}}, ["q1", "q2"])

    assert hits[-1].doc_ids == ["a"]
    with pytest.raises(IndexError):
        hits[2]
