"""Fusions from configuration: round trips and error messages."""

import json

import pytest

from fusing import BM25, DENSE, hits, random_pairs, run
from indexing.errors import InputError
from retrieve.fusion import METHODS, Preset, ReciprocalRank, WeightedSum, fusion_from_config
from retrieve.fusion.presets.preset import TOOLS

LEGS = [leg.as_leg(name) for leg, name in zip(random_pairs(20), ("bm25", "dense"), strict=True)]

CONFIGS = [
    *({"method": name} for name in METHODS),
    {"method": "weighted-sum", "normalizer": "min-max", "weights": {"bm25": 0.4, "dense": 0.6}, "missing": "zero"},
    {"method": "weighted-sum", "normalizer": "z-score", "weights": [0.4, 0.6], "missing": "min"},
    {"method": "comb-sum", "normalizer": "theoretical-min-max", "bounds": {"bm25": [0, None], "dense": [-1, 1]}},
    {"method": "rrf", "k": 20, "weights": [2, 1]},
    *({"like": tool, "method": method} for tool, methods in TOOLS.items() for method in methods),
    {"like": "qdrant", "k": 60, "weights": [1, 2]},
    {"like": "ranx", "method": "wsum", "norm": "zmuv", "weights": [0.3, 0.7]},
]


@pytest.mark.parametrize("config", CONFIGS, ids=json.dumps)
def test_a_fusion_survives_being_written_down(config):
    fusion = fusion_from_config(config)
    written = json.loads(json.dumps(fusion.as_config()))
    assert config.items() <= written.items()
    assert run(fusion_from_config(written)(LEGS)) == run(fusion(LEGS))


def test_options_reach_the_method():
    fusion = fusion_from_config({"method": "rrf", "k": 0, "weights": [2, 1]})
    assert fusion == ReciprocalRank(k=0, weights=[2, 1])
    assert run(fusion([hits(BM25), hits(DENSE)])) == [pytest.approx({"a": 2, "b": 2, "c": 2 / 3, "d": 1 / 2})]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("rrf", "mapping"),
        ({}, "no fusion method None; choose one of rrf"),
        ({"method": "RRF"}, "no fusion method 'RRF'"),
        (
            {"method": "rrf", "normalizer": "max"},
            "rrf has no option 'normalizer'; its options: missing, weights, k, unit",
        ),
        ({"method": "rrf", "k": "60"}, "k must be a number, not '60'"),
        ({"method": "rrf", "k": -2}, "above -1"),
        ({"method": "rrf", "k": True}, "k must be a number, not True"),
        ({"method": "rrf", "unit": "yes"}, "unit must be true or false, not 'yes'"),
        ({"method": "rrf", "weights": "0.4,0.6"}, "weights must be a list of numbers"),
        ({"method": "rrf", "weights": ["0.4", "0.6"]}, "weights must be numbers"),
        ({"method": "spread-weighted", "scales": {"bm25": None}}, "scales must be numbers"),
        ({"method": ["rrf"]}, r"no fusion method \['rrf'\]"),
        ({"method": "weighted-sum", "normalizer": "minmax"}, "choose one of min-max, theoretical"),
        ({"method": "weighted-sum", "normalizer": "theoretical-min-max"}, "needs bounds"),
        ({"method": "weighted-sum", "bounds": [[0, 1]]}, "bounds are for the normalizer"),
        ({"method": "comb-sum", "normalizer": "theoretical-min-max", "bounds": [[1, 0]]}, "must be below"),
        ({"method": "comb-sum", "normalizer": "theoretical-min-max", "bounds": [1]}, "is not valid"),
        ({"method": "weighted-sum", "missing": None}, "missing must be one of"),
        ({"like": "weaviate"}, "choose one of qdrant, elasticsearch"),
        ({"like": "qdrant", "method": "linear"}, "preset qdrant has no method 'linear'; choose one of rrf, dbsf"),
        ({"like": "qdrant", "k": "60"}, "is not valid"),
        ({"like": ["qdrant"]}, "is not valid"),
        ({"like": "llamaindex", "weights": [1, 2]}, "takes no option, not 'weights'"),
        ({"like": "ranx", "norm": "minmax"}, "ranx has no norm 'minmax'"),
        ({"like": "elasticsearch", "method": "linear", "norm": "max"}, "elasticsearch has no norm 'max'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(config, says):
    with pytest.raises(InputError, match=says):
        fusion_from_config(config)


def test_a_function_of_ones_own_cannot_be_written_down():
    with pytest.raises(InputError, match="normalizer is a function of your own"):
        WeightedSum(normalizer=lambda scores, offsets: scores).as_config()


def test_a_preset_explains_itself():
    explained = Preset(like="haystack").explain([hits(BM25).as_leg("bm25"), hits(DENSE).as_leg("dense")])
    assert explained.hits[0].doc_ids[0] == "b"
    assert explained.legs["bm25"].contribution[0] == pytest.approx(61 / 62 / 2)
