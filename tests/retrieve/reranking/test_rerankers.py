from itertools import pairwise

import numpy as np
import pytest

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.reranking import base, late_interaction
from retrieve.reranking.base import CandidateReranker, reweighted
from retrieve.reranking.budget import Budget
from retrieve.reranking.cross_encoder import Reranker
from retrieve.reranking.late_interaction import LateInteractionReranker, max_sim
from retrieve.reranking.passages import Windows
from retrieve.trace import Cancelled, Trace

TEXTS = {"a": "a", "bb": "bb", "ccc": "ccc", "dddd": "dddd"}
RUN = {"q1": {"a": 4.0, "bb": 3.0, "ccc": 2.0, "dddd": 1.0}, "q2": {}, "q3": {"ccc": 9.0}}
QUERIES = ["one", "two", "three"]


class ByLength(CandidateReranker):
    """Reranker that scores a text by its length, without a model."""

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


def test_another_weight_needs_no_second_reading():
    read = ByLength(weight=0.9).rerank(QUERIES, hits(), TEXTS)
    for weight in (0, 0.25, 1):
        again, right = reweighted(read, weight), ByLength(weight=weight).rerank(QUERIES, hits(), TEXTS)
        assert again.scores.tolist() == pytest.approx(right.scores.tolist())
        assert again.doc_ids == right.doc_ids and set(again.legs) == {"first-stage", "reranker"}
    for some in (hits(), ByLength().rerank(QUERIES, hits(), TEXTS, depth=2)):
        with pytest.raises(InputError, match="must have read all"):
            reweighted(some, 0.5)


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
    monkeypatch.setattr(base, "MAX_CANDIDATES", 1)
    assert ByLength().rerank(QUERIES, hits(), TEXTS).doc_ids == whole.doc_ids


def test_bad_input_is_named():
    with pytest.raises(InputError, match="between 0 and 1"):
        ByLength(weight=1.5)
    with pytest.raises(InputError, match="depth must be at least 1"):
        ByLength().rerank(QUERIES, hits(), TEXTS, depth=0)
    with pytest.raises(InputError, match="2 queries need Hits for as many"):
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

    run = Reranker(tiny_cross_encoder).rerank(queries, found, texts).to_run(queries)

    for query in queries:
        for doc_id, text in texts.items():
            assert run[query][doc_id] == pytest.approx(float(tiny_cross_encoder.predict([(query, text)])[0]), abs=1e-5)


def test_the_rerankers_own_ranks_and_scores_stand_beside_what_was_made_of_them():
    reranked = ByLength(weight=0.25).rerank(QUERIES, hits(), TEXTS, depth=2)
    own = {hit.doc_id: hit.legs.get("reranker") for hit in reranked[0]}
    assert {doc_id: leg and (leg.rank, leg.score) for doc_id, leg in own.items()} == {
        "a": (2, 1.0),
        "bb": (1, 2.0),
        "ccc": None,
        "dddd": None,
    }


def test_a_pair_of_equal_texts_is_scored_once(tiny_cross_encoder, monkeypatch):
    lengths = []
    forward = type(tiny_cross_encoder.engine).forward
    monkeypatch.setattr(
        type(tiny_cross_encoder.engine), "forward", lambda *given: lengths.append(len(given[2])) or forward(*given)
    )
    copies = dict.fromkeys(TEXTS, "the same text")
    reranked = Reranker(tiny_cross_encoder).rerank(["one", "one"], hits().part(0, 2), copies)
    assert lengths == [1]
    assert len(set(reranked[0].scores.tolist())) == 1


class TestBudget:
    def test_the_best_are_read_and_the_rest_keep_their_order_below(self):
        trace = Trace()
        reranked = ByLength().rerank(QUERIES, hits(), TEXTS, budget=Budget(max_pairs=2), trace=trace)
        assert reranked[0].doc_ids == ["bb", "a", "ccc", "dddd"]
        assert trace.scored.tolist() == [2, 0, 1]
        assert not trace.out_of_time
        expected = ByLength().rerank(QUERIES, hits(), TEXTS, depth=2)
        assert reranked.scores.tolist() == expected.scores.tolist()

    def test_without_any_time_the_first_stage_stays_and_the_speed_is_seen_anew(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(base.time, "perf_counter", lambda: now[0])

        class Slow(ByLength):
            def _scores(self, queries, rows, texts, places):
                now[0] += len(places)
                return super()._scores(queries, rows, texts, places)

        reranker, trace = Slow(), Trace()
        reranker._rate = 1000.0
        reranked = reranker.rerank(QUERIES, hits(), TEXTS, budget=Budget(max_ms=1), trace=trace)
        assert [ranking.doc_ids for ranking in reranked] == [ranking.doc_ids for ranking in hits()]
        assert trace.scored.tolist() == [1, 0, 0]
        assert trace.out_of_time
        assert reranker._rate == pytest.approx(1 / (len("a") + len("one"))), "a slow moment does not stand for ever"

    def test_stops_in_time_with_a_full_ranking(self, monkeypatch):
        """On a fake clock, each character takes a millisecond; the first estimate of the speed is far off."""
        now = [0.0]
        monkeypatch.setattr(base.time, "perf_counter", lambda: now[0])
        texts = {f"d{at:03}": "x" * 10 for at in range(200)}
        run = {"q": {doc_id: float(-at) for at, doc_id in enumerate(texts)}}

        class Slow(ByLength):
            def _scores(self, queries, rows, texts, places):
                now[0] += sum(len(texts[place]) for place in places) / 1000
                return super()._scores(queries, rows, texts, places)

        reranker = Slow()
        for _ in range(2):  # the second time the speed is known
            trace, start = Trace(), now[0]
            reranked = reranker.rerank(["q"], Hits.from_run(run, ["q"]), texts, budget=Budget(max_ms=500), trace=trace)
            assert 0.25 < now[0] - start <= 0.5
            assert len(reranked[0]) == 200
            assert 20 <= trace.scored[0] <= 50
            assert trace.out_of_time

    def test_a_growing_budget_reads_more_of_the_same(self):
        read = []
        for max_pairs in (1, 2, 3, 4, 9):
            reranked = ByLength().rerank(QUERIES, hits(), TEXTS, budget=Budget(max_pairs=max_pairs))
            read.append({hit.doc_id for hit in reranked[0] if "reranker" in hit.legs})
        assert all(less < more for less, more in pairwise(read[:4]))
        assert read[3] == read[4] == set(TEXTS)

    def test_early_exit_stops_when_the_rest_cannot_matter(self):
        texts = {f"d{at:03}": "x" * (500 - at if at < 20 else 100 - at % 2) for at in range(200)}
        run = {query: {doc_id: float(-at) for at, doc_id in enumerate(texts)} for query in ("one", "two")}
        found, trace = Hits.from_run(run, list(run)), Trace()

        early = ByLength().rerank(["one", "two"], found, texts, budget=Budget(early_exit=3, top=10), trace=trace)

        assert (trace.scored < 100).all() and (trace.scored >= 16).all()
        whole = ByLength().rerank(["one", "two"], found, texts)
        assert early.top(10).doc_ids == whole.top(10).doc_ids
        assert len(early.codes) == 400

    def test_early_exit_reads_on_while_scores_rise(self):
        texts = {f"d{at:03}": "x" * (at + 1) for at in range(100)}
        found, trace = Hits.from_run({"q": {doc_id: float(-at) for at, doc_id in enumerate(texts)}}, ["q"]), Trace()
        early = ByLength().rerank(["q"], found, texts, budget=Budget(early_exit=3, top=10), trace=trace)
        assert trace.scored.tolist() == [100]
        assert early[0].doc_ids[0] == "d099"

    def test_early_exit_knows_what_the_first_stage_still_adds(self):
        texts = {f"d{at:03}": "x" * 7 for at in range(100)}
        found = Hits.from_run({"q": {doc_id: float(-at) for at, doc_id in enumerate(texts)}}, ["q"])
        trace = Trace()
        ByLength(weight=0.5).rerank(["q"], found, texts, budget=Budget(early_exit=1, top=10), trace=trace)
        assert trace.scored.tolist() == [16], "equal scores, so the first stage decides"

    def test_several_queries_and_blocks_are_read_as_each_alone(self, monkeypatch):
        budget = Budget(max_pairs=2)
        alone = [ByLength().rerank(q, h, TEXTS, budget=budget).doc_ids for q, h in zip(QUERIES, hits(), strict=True)]
        monkeypatch.setattr(base, "MAX_CANDIDATES", 1)
        blocks = ByLength().rerank(QUERIES, hits(), TEXTS, budget=budget)
        assert [ranking.doc_ids for ranking in blocks] == alone

    def test_a_cancelled_call_ends_before_its_next_portion(self):
        import threading

        gone = threading.Event()

        class Leaving(ByLength):
            calls = 0

            def _scores(self, queries, rows, texts, places):
                Leaving.calls += 1
                gone.set()
                return super()._scores(queries, rows, texts, places)

        texts = {f"d{at:03}": "x" * (at + 1) for at in range(100)}
        found = Hits.from_run({"q": {doc_id: float(-at) for at, doc_id in enumerate(texts)}}, ["q"])
        with pytest.raises(Cancelled):
            Leaving().rerank(["q"], found, texts, budget=Budget(early_exit=3), trace=Trace(cancelled=gone))
        assert Leaving.calls == 1

    @pytest.mark.parametrize("wrong", [{"max_pairs": 0}, {"max_pairs": 1.5}, {"max_ms": 0}, {"early_exit": -1}])
    def test_what_cannot_be_a_budget(self, wrong):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
            Budget(**wrong)


class TestPassages:
    LONG = " ".join(["water"] * 60 + ["fire"] * 5 + ["light"] * 60)

    def test_the_best_or_the_mean_of_a_documents_windows(self, tiny_cross_encoder):
        texts = {"long": self.LONG, "short": "fire heat", "empty": ""}
        found = Hits.from_run({"q": dict.fromkeys(texts, 1.0)}, ["q"])
        windows = Windows(tiny_cross_encoder, overlap=4)
        [size] = windows.room(["fire"]).tolist()
        [spans] = windows.spans([self.LONG])
        cut = windows.cut(self.LONG, spans, size)
        alone = tiny_cross_encoder.predict([("fire", window) for window in cut])

        for passages, reduce in (("max", np.max), ("mean", np.mean)):
            reranker = Reranker(tiny_cross_encoder, passages=passages, overlap=4)
            run = reranker.rerank(["fire"], found, texts).to_run(["q"])["q"]
            assert run["long"] == pytest.approx(float(reduce(alone)), abs=1e-5)
            for doc_id in ("short", "empty"):
                assert run[doc_id] == pytest.approx(
                    float(tiny_cross_encoder.predict(("fire", texts[doc_id]))), abs=1e-5
                )

    def test_a_query_reads_the_same_windows_alone_and_beside_others(self, tiny_cross_encoder):
        texts = {f"d{at}": " ".join([word] * (20 + 15 * at)) for at, word in enumerate(["fire", "heat", "wave"])}
        queries = ["fire", "the price of water in the market", "a"]
        found = Hits.from_run({query: dict.fromkeys(texts, 1.0) for query in queries}, queries)
        reranker = Reranker(tiny_cross_encoder, passages="max")
        together = reranker.rerank(queries, found, texts)
        for query, ranking, before in zip(queries, together, found, strict=True):
            alone = reranker.rerank(query, before, texts)
            assert alone.doc_ids == ranking.doc_ids
            np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-5)

    def test_max_pairs_counts_windows_and_a_long_document_ends_its_query(self, tiny_cross_encoder):
        texts = {"a": "fire", "long": self.LONG, "b": "heat"}
        found = Hits.from_run({"q": {"a": 3.0, "long": 2.0, "b": 1.0}}, ["q"])
        reranker, trace = Reranker(tiny_cross_encoder, passages="max"), Trace()
        reranked = reranker.rerank(["fire"], found, texts, budget=Budget(max_pairs=3), trace=trace)
        assert reranked[0].doc_ids == ["a", "long", "b"]
        assert trace.scored.tolist() == [1]

    def test_late_interaction_finds_what_stands_at_the_end(self, minilm):
        filler = "Mix flour, water, salt and yeast; let it rise; bake it. " * 30
        texts = {"end": filler + "Datagrams may be lost on the network.", "filler": filler}
        found = Hits.from_run({"q": dict.fromkeys(texts, 1.0)}, ["q"])
        query = "lost network packets"
        first = LateInteractionReranker(minilm, weight=0, passages="first").rerank(query, found[0], texts)
        whole = LateInteractionReranker(minilm, weight=0).rerank(query, found[0], texts)
        assert first.scores[0] == pytest.approx(first.scores[1], abs=1e-3), "cut off"
        assert whole.doc_ids[0] == "end" and whole.scores[0] > whole.scores[1] + 0.05

    def test_what_cannot_be(self, tiny_cross_encoder):
        with pytest.raises(InputError, match="one of first, max, mean, not 'last'"):
            Reranker(tiny_cross_encoder, passages="last")
        with pytest.raises(InputError, match="ByLength reads documents whole"):
            ByLength(passages="max")
        with pytest.raises(InputError, match="overlap must be at least 0"):
            Reranker(tiny_cross_encoder, passages="max", overlap=-1)


def test_late_interaction_holds_the_token_vectors_of_few_documents_at_a_time(minilm, monkeypatch):
    texts = {f"d{at}": f"text number {at} about the {'water cycle' if at % 2 else 'stock market'}" for at in range(40)}
    run = {f"q{at}": {f"d{(at * 7 + n) % 40}": 1.0 / (1 + n) for n in range(20)} for at in range(4)}
    queries = ["rain and rivers", "shares and bonds", "number 7", "water"]
    whole = LateInteractionReranker(minilm, weight=0).rerank(queries, Hits.from_run(run, list(run)), texts)
    monkeypatch.setattr(late_interaction, "DOCUMENTS_AT_ONCE", 3)
    encode, sizes = minilm.encode_tokens, []

    def counted(given, **options):
        sizes.append(len(given))
        return encode(given, **options)

    monkeypatch.setattr(minilm, "encode_tokens", counted)
    parts = LateInteractionReranker(minilm, weight=0, cache_bytes=0).rerank(
        queries, Hits.from_run(run, list(run)), texts
    )
    assert max(sizes) == len(queries) and sorted(sizes)[-2] == 3
    for query_id, scores in whole.to_run(list(run)).items():
        assert parts.to_run(list(run))[query_id] == pytest.approx(scores, abs=1e-5)
