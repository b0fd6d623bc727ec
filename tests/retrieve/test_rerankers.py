import numpy as np
import pytest

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve import rerankers
from retrieve.late_interaction import LateInteractionReranker, max_sim
from retrieve.rerankers import CandidateReranker

TEXTS = {"a": "a", "bb": "bb", "ccc": "ccc", "dddd": "dddd"}
RUN = {"q1": {"a": 4.0, "bb": 3.0, "ccc": 2.0, "dddd": 1.0}, "q2": {}, "q3": {"ccc": 9.0}}
QUERIES = ["one", "two", "three"]


class ByLength(CandidateReranker):
    """Long texts first: enough of a model to see what becomes of scores."""

    def _scores(self, queries, rows, texts, places):
        return np.array([float(len(texts[place])) for place in places], np.float32)


def hits() -> Hits:
    return Hits.from_run(RUN, list(RUN))


def test_orders_by_the_new_score_and_remembers_the_old():
    reranked = ByLength().rerank(QUERIES, hits(), TEXTS)

    assert [ranking.doc_ids for ranking in reranked] == [["dddd", "ccc", "bb", "a"], [], ["ccc"]]
    assert reranked[0].scores.tolist() == [4, 3, 2, 1]
    best = reranked[0][0]
    assert (best.rank, best.legs["first-stage"].rank, best.legs["first-stage"].score) == (1, 4, 1.0)


def test_one_query_gives_one_ranking():
    assert ByLength().rerank("one", hits()[0], TEXTS).doc_ids == ["dddd", "ccc", "bb", "a"]


def test_weight_keeps_part_of_the_first_stage_worked_by_hand():
    reranked = ByLength(weight=0.25).rerank(QUERIES, hits(), TEXTS)
    run = reranked.to_run(["q1", "q2", "q3"])
    # min-max of 4 3 2 1 is 1 2/3 1/3 0, of the lengths 1 2 3 4 the reverse.
    assert run["q1"] == pytest.approx(
        {"dddd": 0.75, "ccc": 0.75 * 2 / 3 + 0.25 / 3, "bb": 0.75 / 3 + 0.25 * 2 / 3, "a": 0.25}
    )
    assert run["q3"] == {"ccc": 1.0}


def test_all_of_the_first_stage_keeps_its_order():
    assert ByLength(weight=1).rerank(QUERIES, hits(), TEXTS)[0].doc_ids == ["a", "bb", "ccc", "dddd"]


@pytest.mark.parametrize("weight", [0, 0.5])
def test_below_the_depth_the_order_stays(weight):
    reranked = ByLength(weight=weight).rerank(QUERIES, hits(), TEXTS, depth=2)
    if weight == 0:
        assert reranked[0].doc_ids == ["bb", "a", "ccc", "dddd"]
    assert reranked[0].doc_ids[2:] == ["ccc", "dddd"]
    assert np.all(np.diff(reranked[0].scores) <= 0)
    assert reranked[2].doc_ids == ["ccc"]


def test_the_same_in_blocks_as_in_one(monkeypatch):
    whole = ByLength().rerank(QUERIES, hits(), TEXTS)
    monkeypatch.setattr(rerankers, "CANDIDATES_AT_ONCE", 1)
    assert ByLength().rerank(QUERIES, hits(), TEXTS).doc_ids == whole.doc_ids


def test_bad_input_is_named():
    with pytest.raises(InputError, match="between 0 and 1"):
        ByLength(weight=1.5)
    with pytest.raises(InputError, match="depth must be at least 1"):
        ByLength().rerank(QUERIES, hits(), TEXTS, depth=0)
    with pytest.raises(InputError, match="2 queries go with"):
        ByLength().rerank(QUERIES[:2], hits(), TEXTS)
    with pytest.raises(InputError, match="no text for the document 'dddd'"):
        ByLength().rerank(QUERIES, hits(), {"a": "", "bb": "", "ccc": ""})
    with pytest.raises(InputError, match="one query goes with one Ranking"):
        ByLength().rerank("one", hits(), TEXTS)


def test_max_sim_worked_by_hand():
    query = np.array([[1, 0], [0, 1]], np.float32)
    document = np.array([[1, 0], [0.6, 0.8]], np.float32)
    assert max_sim(query, [document, document[:0], document[1:]]).tolist() == pytest.approx([0.9, 0.0, 0.7])
    assert max_sim(query[:0], [document]).tolist() == [0.0]
    assert max_sim(query, []).tolist() == []


def test_late_interaction_is_mean_of_best_cosines_of_the_encoders_tokens(minilm, corpus):
    texts = {document.doc_id: document.contents for document in corpus}
    queries = ["how to bake bread", "lost packets", ""]
    found = Hits.from_run({query: dict.fromkeys(texts, 1.0) for query in queries}, queries)

    reranked = LateInteractionReranker(minilm, weight=0).rerank(queries, found, texts)

    run = reranked.to_run(queries)
    for query in queries:
        tokens = minilm.encode_tokens([query]).vectors
        for doc_id, text in texts.items():
            expected = (tokens @ minilm.encode_tokens([text]).vectors.T).max(axis=1).mean() if len(tokens) else 0
            assert run[query][doc_id] == pytest.approx(expected, abs=2e-4)
    assert reranked[0].doc_ids[0] == "bread"
    assert reranked[1].doc_ids[0] == "udp"


def test_a_small_cache_and_a_full_one_give_the_same(minilm, corpus):
    texts = {document.doc_id: document.contents for document in corpus}
    found = Hits.from_run({"q": dict.fromkeys(texts, 1.0)}, ["q"])
    runs = []
    for cache_bytes in (0, 40_000, 10**9):
        reranker = LateInteractionReranker(minilm, cache_bytes=cache_bytes)
        runs += [reranker.rerank(["sort numbers"], found, texts).scores for _ in range(2)]
        assert reranker._cached_bytes <= cache_bytes
    for scores in runs[1:]:
        np.testing.assert_allclose(scores, runs[0], atol=1e-5)


def test_a_cross_encoder_reranks(tiny_cross_encoder, corpus):
    texts = {document.doc_id: document.contents for document in corpus}
    queries = ["how to bake bread", "lost packets"]
    found = Hits.from_run({query: dict.fromkeys(texts, 1.0) for query in queries}, queries)

    run = rerankers.Reranker(tiny_cross_encoder).rerank(queries, found, texts).to_run(queries)

    for query in queries:
        for doc_id, text in texts.items():
            assert run[query][doc_id] == pytest.approx(float(tiny_cross_encoder.predict([(query, text)])[0]), abs=1e-5)
