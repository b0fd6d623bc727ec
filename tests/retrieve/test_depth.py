"""The first hits of a hybrid do not depend on how many are asked for."""

import numpy as np
import pytest

from indexing.hits import Hits
from retrieve.fusion import METHODS, WeightedSum
from retrieve.hybrid import HybridRetriever
from retrieve.retrievers import Retriever
from retrieve.trace import Trace

DOCUMENTS = 60


class Given(Retriever):
    """A retriever with a fixed score of each document for each query; documents of negative scores are no hits."""

    def __init__(self, name, scores):
        super().__init__(name)
        self.scores, self.asked = scores, []

    def _search(self, encoded, k, filter=None):
        self.asked.append(k)
        scores = self.scores
        runs = {
            str(row): {f"d{at:02d}": float(scores[row, at]) for at in self.found(row, k)} for row in range(len(encoded))
        }
        return Hits.from_run(runs, list(runs))

    def found(self, row, k):
        order = np.argsort(-self.scores[row], kind="stable")
        return order[self.scores[row, order] > 0][:k]


@pytest.fixture
def legs():
    scores = np.random.default_rng(0).normal(size=(2, 3, DOCUMENTS)) * np.array([3, 1])[:, None, None]
    return [Given("a", scores[0]), Given("b", scores[1])]


@pytest.mark.parametrize("method", [*METHODS, "qdrant"])
@pytest.mark.parametrize("depth", [5, {"a": 8, "b": 3}], ids=["one", "per-leg"])
@pytest.mark.parametrize("explain", [False, True], ids=["", "explain"])
def test_more_hits_are_appended_below_the_first_ones(legs, method, depth, explain):
    queries = ["x", "y", "z"]
    with HybridRetriever(legs, fusion=method, depth=depth) as hybrid:
        few = hybrid.search(queries, 3, trace=Trace(explain=explain))
        for k in (3, 9, 12, 20, DOCUMENTS):
            trace = Trace(explain=explain)
            more = hybrid.search(queries, k, trace=trace)
            assert more.top(3).to_run(queries) == few.to_run(queries)
            for row in range(3):
                ids = more[row].doc_ids
                assert len(set(ids)) == len(ids) == min(k, len({*legs[0].found(row, 99), *legs[1].found(row, 99)}))
                assert (np.diff(more[row].scores) <= 0).all()
            if explain:
                places = trace.shares.positions(more)
                assert (places >= 0).all()
                np.testing.assert_allclose(trace.shares.hits.scores[places], more.scores)
                assert all(len(share) == len(trace.shares.hits.codes) for share in trace.shares.shares.values())


def test_all_legs_are_asked_for_as_many_and_the_trace_says_so(legs):
    with HybridRetriever(legs, depth={"a": 8, "b": 3}, fusion=WeightedSum()) as hybrid:
        trace = Trace()
        hybrid.search(["x"], 4, trace=trace)
        assert ([leg.asked for leg in legs], trace.notes) == ([[8], [3]], [])
        hybrid.search(["x"], 20, trace=trace)
        assert [leg.asked for leg in legs] == [[8, 8, 20], [3, 3, 20]]
        (note,) = trace.notes
        assert note.startswith("k is 20, and the fused hits are fewer (depth a=8, b=3): those below rank ")
        assert note.endswith("come from a fusion of the first 20 of each leg")


def test_a_query_with_few_hits_is_not_searched_again(legs):
    with HybridRetriever(legs, depth=50) as hybrid:
        found = hybrid.search(["x"], 55)
        assert [leg.asked for leg in legs] == [[50], [50]]
        assert len(found.codes) <= 55
