"""Hits refined after a search: thresholds, near-duplicates, groups, variety."""

import numpy as np
import pytest

from indexing.errors import InputError
from pipelines.search import Refine
from pipelines.search.refine import mmr_order


class TestRefine:
    def test_a_threshold(self, pipeline):
        best = pipeline.search("bake", k=20)
        cut = best[4].score
        kept = pipeline.search("bake", k=20, refine=Refine(threshold=cut))
        assert [result.doc_id for result in kept] == [result.doc_id for result in best if result.score >= cut]

    def test_near_duplicates_are_shown_once(self, pipeline):
        plain = [result.doc_id for result in pipeline.search("singular value decomposition", k=2)]
        assert set(plain) == {"svd", "svd-copy"}
        results = pipeline.search("singular value decomposition", k=5, refine=Refine(collapse=0.9))
        assert [result.rank for result in results] == [1, 2, 3, 4, 5]
        assert results[0].doc_id in plain and not {"svd", "svd-copy"} <= {result.doc_id for result in results}

    def test_the_best_of_each_group(self, pipeline):
        results = pipeline.search("eigenvalues of a matrix", k=20, refine=Refine(group_by="source"))
        sources = [result.metadata["source"] for result in results if "source" in result.metadata]
        assert len(set(sources)) == len(sources) > 1
        assert len(results) == 20, "those without the field are kept"

    def test_variety(self, pipeline):
        results = pipeline.search("singular value decomposition", k=4, refine=Refine(mmr=0.5))
        assert results[0].doc_id == pipeline.search("singular value decomposition", k=1)[0].doc_id
        assert "svd-copy" not in [result.doc_id for result in results] or "svd" not in [r.doc_id for r in results]
        same = pipeline.search("bake", k=6, refine=Refine(mmr=1))
        assert [r.doc_id for r in same] == [r.doc_id for r in pipeline.search("bake", k=6)]

    def test_explanations_go_with_their_hits(self, pipeline):
        for result in pipeline.search("singular value", k=4, explain=True, refine=Refine(mmr=0.3, pool=30)):
            assert result.explanation.legs["dense"].rank == result.legs["dense"].rank

    def test_mmr_worked_by_hand(self):
        vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], float)
        scores = np.array([4.0, 3.0, 2.0, 0.0])
        # Relevance 1, .75, .5, 0. Half and half, the second falls to .375 - .5, the third keeps .25.
        assert mmr_order(scores, vectors, 4, balance=0.5) == [0, 2, 3, 1]
        assert mmr_order(scores, vectors, 4, balance=1.0) == [0, 1, 2, 3]
        assert mmr_order(scores, vectors, 2, balance=0.5) == [0, 2]

    def test_what_cannot_be(self, opened):
        for wrong in ({"collapse": 0}, {"mmr": 2}, {"pool": 0}):
            with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
                Refine(**wrong)
        with opened(legs=["bm25"]) as pipeline, pytest.raises(InputError, match="add a dense leg"):
            pipeline.search("matrix list", refine=Refine(mmr=0.5))
