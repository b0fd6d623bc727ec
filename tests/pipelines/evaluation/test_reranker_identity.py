"""Answers of a reranker are kept for the weight that it carries, and computed anew for another."""

from dataclasses import replace
from pathlib import Path

from pipelines.evaluation.legs import reranker_identity
from pipelines.evaluation.systems import System
from pipelines.models import Models
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from retrieve.reranking.carried import CarriedWeight


def test_another_carried_weight_is_another_reranker(tiny_cross_encoder, tmp_path: Path) -> None:
    tiny_cross_encoder.save(tmp_path / "model")

    def identity(weight: float | None = None):
        config = SearchConfig(
            legs={"bm25": LegConfig()}, reranker=RerankerConfig(str(tmp_path / "model"), weight=weight)
        )
        return reranker_identity(System("one", config), Models())

    without = identity()
    carried = CarriedWeight(0.4, 0.8, "home", 100, 50, (0.1, 0.0, 0.2), {"d1": "00"})
    carried.write(tmp_path / "model")
    first = identity()
    assert first != without and identity() == first
    replace(carried, weight=0.6).write(tmp_path / "model")
    assert identity() != first
    assert identity(0.5) == without, "a stated weight is part of the system, and the file does not matter"
