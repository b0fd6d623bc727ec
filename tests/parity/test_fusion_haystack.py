"""like="haystack" against Haystack's own `DocumentJoiner`."""

import os

import pytest

from fusing import random_pairs, run
from retrieve.fusion import Preset

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
LEFT, RIGHT = random_pairs()


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("reciprocal_rank_fusion", None),
        ("reciprocal_rank_fusion", [1, 3]),
        ("merge", None),
        ("merge", [0.2, 0.8]),
        ("concatenate", None),
        ("distribution_based_rank_fusion", None),
    ],
)
def test_equal(method, weights):
    haystack = pytest.importorskip("haystack")
    joiners = pytest.importorskip("haystack.components.joiners")
    joiner = joiners.DocumentJoiner(join_mode=method, weights=weights)
    ours = run(Preset(like="haystack", method=method, options={"weights": weights} if weights else {})([LEFT, RIGHT]))
    for query in range(len(LEFT)):
        lists = [
            [haystack.Document(id=hit.doc_id, content=hit.doc_id, score=hit.score) for hit in leg[query]]
            for leg in (LEFT, RIGHT)
        ]
        theirs = {document.id: document.score for document in joiner.run(documents=lists)["documents"]}
        assert ours[query] == pytest.approx(theirs, abs=1e-9)
