"""Searches by several wordings of one question."""

import pytest

from indexing.errors import InputError
from pipelines.search import Refine
from retrieve.fusion import WeightedSum


class TestSeveralWordings:
    def test_are_fused_and_say_which_found_what(self, pipeline):
        results = pipeline.multi_search(["oven", "datagrams", "packets may be lost"], k=5)
        assert {"cake", "udp"} <= {result.doc_id for result in results}
        by_wording = {result.doc_id: result.legs for result in results}
        assert by_wording["cake"]["query 1"].rank == by_wording["udp"]["query 2"].rank == 1
        expected = sum(1 / (60 + leg.rank) for leg in results[0].legs.values())
        assert results[0].score == pytest.approx(expected)

    def test_the_reranker_reads_the_first(self, opened):
        with opened(reranker=None) as plain, opened(reranker="late-interaction", candidates=10) as pipeline:
            results = pipeline.multi_search(["datagrams", "oven"], k=3)
            assert len(plain.multi_search(["datagrams", "oven"], k=3)) == 3
        assert results.reranked == 10 and results[0].doc_id == "udp"

    def test_explain_themselves_by_wording_and_leg(self, pipeline):
        wordings = ["oven", "datagrams", "packets may be lost"]
        results = pipeline.multi_search(wordings, k=5, explain=True)
        alone = {f"query {at}": pipeline.search(text, k=50, explain=True) for at, text in enumerate(wordings, 1)}
        for result in results:
            why = result.explanation
            assert set(why.legs) == set(result.legs) and why.first_stage.rank == result.rank
            assert sum(part.share for part in why.legs.values()) == pytest.approx(1)
            for name, part in why.legs.items():
                assert part.share == pytest.approx((1 / (60 + part.rank)) / result.score)
                (same,) = [hit for hit in alone[name] if hit.doc_id == result.doc_id]
                assert part.score == pytest.approx(same.score, abs=1e-5)
                assert part.legs.keys() == same.explanation.legs.keys()
                for leg, inner in part.legs.items():
                    assert inner.share == pytest.approx(same.explanation.legs[leg].share, abs=1e-4)
                    assert inner.terms == same.explanation.legs[leg].terms
        udp = next(result for result in results if result.doc_id == "udp").explanation
        assert [term for term, _ in udp.legs["query 2"].legs["bm25"].terms] == ["datagram"]
        assert results[0].as_dict()["explanation"]["legs"]["query 1"]["legs"]["dense"]["share"] > 0

    def test_explain_the_reranker_and_what_was_refined(self, opened):
        with opened(reranker="late-interaction", candidates=6) as pipeline:
            fusion = WeightedSum()
            results = pipeline.multi_search(
                ["datagrams", "singular value"], k=3, fusion=fusion, explain=True, refine=Refine(collapse=0.9)
            )
        assert results[0].explanation.reranker is not None
        for result in results:
            assert set(result.explanation.legs) == {name for name in result.legs if name.startswith("query")}
            assert all(0 <= part.normalized <= 1 for part in result.explanation.legs.values())

    def test_one_string_is_no_list(self, pipeline):
        with pytest.raises(InputError, match="must be a list"):
            pipeline.multi_search("oven")
        with pytest.raises(InputError, match="must be a list"):
            pipeline.multi_search([])
