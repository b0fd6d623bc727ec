"""Elasticsearch's fusions, worked by hand (not compared with a server); other tools: tests/parity/test_fusion_*."""

import pytest

from fusing import BM25, DENSE, hits, run
from retrieve.fusion import Preset

LEGS = [hits(BM25), hits(DENSE)]


def elasticsearch(**options) -> list[dict[str, float]]:
    method = options.pop("method", None)
    return run(Preset(like="elasticsearch", method=method, options=options)(LEGS))


def test_elasticsearch_rrf():
    assert elasticsearch(k=10, weights=[1, 2]) == [
        pytest.approx({"a": 1 / 11, "b": 1 / 12 + 2 / 11, "c": 1 / 13, "d": 2 / 12})
    ]


def test_elasticsearch_linear_does_not_divide_by_the_weights():
    assert elasticsearch(method="linear", weights=[2, 3]) == [pytest.approx({"a": 2, "b": 1 + 3, "c": 0, "d": 0})]


def test_elasticsearch_linear_leaves_equal_scores_as_they_are():
    fused = Preset(like="elasticsearch", method="linear")([hits({"a": 7.0}), hits({"b": 2.0, "c": 2.0})])
    assert run(fused) == [{"a": 7.0, "b": 2.0, "c": 2.0}]


def test_elasticsearch_l2_norm():
    words, meaning = (81 + 25 + 1) ** 0.5, (0.81 + 0.25) ** 0.5
    assert elasticsearch(method="linear", norm="l2_norm") == [
        pytest.approx({"a": 9 / words, "b": 5 / words + 0.9 / meaning, "c": 1 / words, "d": 0.5 / meaning})
    ]
