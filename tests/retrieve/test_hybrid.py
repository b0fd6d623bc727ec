import threading
import time
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from indexing.errors import InputError, StorageError
from indexing.hits import Hits
from retrieve.fusion import WeightedSum, default_fusion, reciprocal_rank_fusion, weighted_sum
from retrieve.hybrid import HybridRetriever
from retrieve.retrievers import Retriever
from retrieve.trace import Trace


class Fixed(Retriever):
    """Retriever that returns the same run for every query."""

    def __init__(self, name, run):
        super().__init__(name)
        self.run, self.asked = run, []

    def _search(self, queries, k):
        self.asked.append((list(queries), k))
        return Hits.from_run(dict.fromkeys(queries, self.run), queries).top(k)


WORDS = Fixed("words", {"a": 3.0, "b": 2.0, "c": 1.0})
MEANING = Fixed("meaning", {"c": 0.9, "d": 0.1})


def test_fuses_its_legs_and_says_where_each_hit_came_from():
    with HybridRetriever([WORDS, MEANING]) as hybrid:
        ranking = hybrid.search("query", k=3)

    # min-max, equal weights: a 1/2, b 1/4, c 0 + 1/2, d 0; equal scores by doc_id
    assert ranking.doc_ids == ["a", "c", "b"]
    assert ranking.scores.tolist() == [0.5, 0.5, 0.25]
    assert {name: (leg.rank, leg.score) for name, leg in ranking[1].legs.items()} == {
        "words": (3, 1.0),
        "meaning": (1, 0.9),
    }
    assert set(ranking[0].legs) == {"words"}


def test_takes_another_fusion():
    with HybridRetriever([WORDS, MEANING], fusion=partial(reciprocal_rank_fusion, k=0)) as hybrid:
        assert hybrid.search("query")[0].doc_id == "c"


def test_fuses_by_default_as_the_kinds_of_its_legs_scores_ask():
    words, meaning = Fixed("words", {"a": 1.0}), Fixed("meaning", {"a": 1.0})
    words.score_kind, meaning.score_kind = "bm25", "cosine"
    with HybridRetriever([words, meaning]) as hybrid:
        assert hybrid.fusion == default_fusion({"words": "bm25", "meaning": "cosine"})
    with HybridRetriever([WORDS, MEANING]) as hybrid:
        assert hybrid.fusion == WeightedSum()


def test_asks_legs_for_the_depth_whatever_k_is():
    leg = Fixed("leg", {"a": 1.0})
    with HybridRetriever([leg], depth=7) as hybrid:
        hybrid.search("query", k=3)
        hybrid.search(["q1", "q2"], k=30)
    assert leg.asked == [(["query"], 7), (["q1", "q2"], 7)]


def test_runs_its_legs_at_the_same_time():
    met = threading.Barrier(2, timeout=5)

    class Meets(Fixed):
        def _search(self, queries, k):
            met.wait()  # passes only when both legs are inside
            return super()._search(queries, k)

    with HybridRetriever([Meets("one", {"a": 1.0}), Meets("two", {"b": 1.0})]) as hybrid:
        assert len(hybrid.search("query")) == 2


def test_an_error_in_a_leg_is_the_callers():
    class Broken(Fixed):
        def _search(self, queries, k):
            time.sleep(0.01)
            raise InputError("broken leg")

    with HybridRetriever([WORDS, Broken("broken", {})]) as hybrid, pytest.raises(InputError, match="broken leg"):
        hybrid.search("query")


def test_no_queries_and_bad_arguments():
    with HybridRetriever([WORDS, MEANING]) as hybrid:
        assert len(hybrid.search([])) == 0
        with pytest.raises(InputError, match="k must be at least 1"):
            hybrid.search("query", k=0)
        with pytest.raises(InputError, match=r"number 1 \(from 0\) must be a string, not None"):
            hybrid.search(["fine", None])
    with pytest.raises(InputError, match="different names"):
        HybridRetriever([WORDS, WORDS])
    with pytest.raises(InputError, match="different names"):
        HybridRetriever([])
    with pytest.raises(InputError, match="depth must be at least 1"):
        HybridRetriever([WORDS], depth=0)


def test_each_leg_may_have_its_own_depth():
    one, two = Fixed("one", {"a": 1.0}), Fixed("two", {"b": 1.0})
    with HybridRetriever([one, two], depth={"two": 7}) as hybrid:
        hybrid.search("query", k=3)
    assert (one.asked[0][1], two.asked[0][1]) == (100, 7)
    with pytest.raises(InputError, match="a depth for the leg 'three', but the legs are one, two"):
        HybridRetriever([one, two], depth={"three": 7})


def test_a_filter_reaches_every_leg_and_only_when_there_is_one():
    class Filtered(Fixed):
        def _search(self, queries, k, filter=None):
            found = super()._search(queries, k)
            return found if filter is None else found.where(found.ids[found.codes] != filter)

    with HybridRetriever([Filtered("one", {"a": 1.0, "b": 2.0}), Filtered("two", {"a": 1.0, "c": 1.0})]) as hybrid:
        assert set(hybrid.search("query", filter="a").doc_ids) == {"b", "c"}
        assert set(hybrid.search("query").doc_ids) == {"a", "b", "c"}


def test_legs_with_the_same_encoder_encode_a_batch_once():
    class Encoder:
        batches: ClassVar[list] = []

    class Encoding(Fixed):
        encoder = Encoder

        def encode(self, queries):
            Encoder.batches.append(list(queries))
            return queries

    with HybridRetriever([Encoding("one", {"a": 1.0}), WORDS, Encoding("two", {"b": 1.0})]) as hybrid:
        trace = Trace()
        hybrid.search(["q1", "q2"], trace=trace)
    assert Encoder.batches == [["q1", "q2"]]
    assert set(trace.seconds) - {"one.encode", "two.encode"} == {"one.search", "two.search", "words.search", "fusion"}


class Failing(Fixed):
    def _search(self, queries, k):
        raise StorageError("the disk has gone")


def test_without_a_leg_that_fails_the_others_answer_and_the_trace_says_so():
    with HybridRetriever([WORDS, Failing("lost", {}), MEANING], on_leg_error="degrade") as hybrid:
        trace = Trace()
        degraded = hybrid.search(["query"], k=4, trace=trace)
    assert trace.failures == {"lost": "the disk has gone"}
    assert not degraded.legs["lost"].ranks.any(), "it stands in the provenance, with nothing"
    with HybridRetriever([WORDS, MEANING]) as hybrid:
        assert degraded.doc_ids == hybrid.search(["query"], k=4).doc_ids
    both = HybridRetriever([Failing("one", {}), Failing("two", {})], on_leg_error="degrade")
    with both, pytest.raises(StorageError, match="the disk has gone"):
        both.search("query")


def test_a_wrong_argument_is_never_taken_for_a_leg_that_fails():
    class Refusing(Fixed):
        def _search(self, queries, k, filter=None):
            raise InputError("no field 'yaer'")

    hybrid = HybridRetriever([WORDS, Refusing("strict", {})], on_leg_error="degrade")
    with hybrid, pytest.raises(InputError, match="no field 'yaer'"):
        hybrid.search("query")
    with pytest.raises(InputError, match="'raise' or 'degrade', not 'ignore'"):
        HybridRetriever([WORDS, MEANING], on_leg_error="ignore")


@pytest.mark.parametrize("fusion", [weighted_sum, partial(reciprocal_rank_fusion, weights=[2, 1])])
def test_shares_are_each_legs_part_of_the_fused_score(fusion):
    with HybridRetriever([WORDS, MEANING], fusion=fusion) as hybrid:
        trace = Trace(explain=True)
        hits = hybrid.search(["q1", "q2"], k=4, trace=trace)
    places = trace.shares.positions(hits)
    words, meaning = (trace.shares.shares[name][places] for name in ("words", "meaning"))
    assert (words + meaning).tolist() == pytest.approx([1] * len(places))
    by_id = dict(zip(hits.doc_ids, words.tolist(), strict=True))
    assert by_id["a"] == 1 and by_id["d"] == 0
    # c: third of words, first of meaning.
    assert by_id["c"] == pytest.approx(0 if fusion is weighted_sum else (2 / 63) / (2 / 63 + 1 / 61))


def test_a_fusion_that_explains_itself_is_asked_and_may_ask_for_true_scores():
    """The fusion explains itself, and asks the leg for the scores of three candidates."""

    class Explained(NamedTuple):
        hits: Hits
        legs: dict

    class Part(NamedTuple):
        normalized: np.ndarray
        share: np.ndarray

    class Adding:
        def __call__(self, answers, *, complete=None):
            return self.explain(answers, complete=complete).hits

        def explain(self, answers, *, complete=None):
            rows, wanted = np.array([1, 0, 1]), ["x", "yy", "zzz"]
            self.asked = complete(1, rows, wanted).tolist()
            hits = weighted_sum(answers)
            half = np.full(len(hits.codes), 0.5)
            return Explained(hits, {name: Part(2 * half, half) for name in hits.legs})

    class Scoring(Fixed):
        def score(self, encoded, doc_ids):
            return np.array([10 * len(encoded[row]) + len(i) for row, ids in enumerate(doc_ids) for i in ids], float)

    fusion, trace = Adding(), Trace(explain=True)
    with HybridRetriever([WORDS, Scoring("scoring", {"a": 1.0})], fusion=fusion) as hybrid:
        hits = hybrid.search(["q", "long"], trace=trace)
        assert hybrid.search(["q", "long"]).doc_ids == hits.doc_ids
    assert fusion.asked == [41, 12, 43]
    assert set(trace.shares.normalized["scoring"]) == {1.0} and set(trace.shares.shares["words"]) == {0.5}


def test_a_leg_that_cannot_score_says_so():
    with pytest.raises(InputError, match="the leg 'words' cannot score given documents"):
        WORDS.score(["q"], [["a"]])
