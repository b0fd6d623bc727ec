import threading
import time
from functools import partial

import pytest

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion import reciprocal_rank_fusion
from retrieve.hybrid import HybridRetriever
from retrieve.retrievers import Retriever


class Fixed(Retriever):
    """Answers every query with the same run."""

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


def test_asks_legs_for_the_depth_or_for_more():
    leg = Fixed("leg", {"a": 1.0})
    with HybridRetriever([leg], depth=7) as hybrid:
        hybrid.search("query", k=3)
        hybrid.search(["q1", "q2"], k=30)
    assert leg.asked == [(["query"], 7), (["q1", "q2"], 30)]


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
        with pytest.raises(InputError, match="query number 1 is not a string but None"):
            hybrid.search(["fine", None])
    with pytest.raises(InputError, match="different names"):
        HybridRetriever([WORDS, WORDS])
    with pytest.raises(InputError, match="different names"):
        HybridRetriever([])
    with pytest.raises(InputError, match="depth must be at least 1"):
        HybridRetriever([WORDS], depth=0)
