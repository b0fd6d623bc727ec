"""Systems as configurations: read from files, refused with a reason."""

import json

import pytest

from indexing.errors import InputError
from pipelines.evaluation.systems import LegSpec, System
from pipelines.evaluation.systems_file import read_systems
from pipelines.search import SearchConfig

LEGS = {"bm25": LegSpec("bm25", "bm25")}
FILE = """
legs:
  bge: {kind: dense, model: BAAI/bge-base-en-v1.5, index: hnsw}
systems:
  - {name: words, legs: [bm25]}
  - {name: both, legs: {bm25: {depth: 50}, bge: }, fusion: {method: rrf, k: 20, weights: [1, 2]}, depth: 200}
  - {name: reranked, legs: [bge], reranker: {model: BAAI/bge-reranker-base, candidates: 120, weight: 0.2}}
"""
OLD_FILE = """
legs:
  bge: {kind: dense, model: BAAI/bge-base-en-v1.5, index: hnsw}
systems:
  - {name: words, legs: [bm25], depth: null, weights: null}
  - {name: both, legs: [bm25, bge], fusion: rrf, weights: [1, 2], rrf_k: 20, depth: 200}
  - {name: sum, legs: [bm25, bge], weights: [1, 2]}
  - {name: method, legs: [bm25, bge], fusion: {method: comb-sum}, candidates: 7}
  - {name: reranked, legs: [bge], reranker: BAAI/bge-reranker-base, candidates: 120, reranker_weight: 0.2}
"""


def system(name, **options):
    return System(name, SearchConfig.load(options))


def test_a_file_names_legs_and_systems(tmp_path):
    (tmp_path / "systems.yaml").write_text(FILE)

    plan = read_systems(tmp_path / "systems.yaml", LEGS)

    assert plan.legs["bge"] == LegSpec("bge", "dense", "BAAI/bge-base-en-v1.5", index="hnsw")
    fusion = {"method": "rrf", "k": 20, "weights": [1, 2]}
    reranker = {"model": "BAAI/bge-reranker-base", "candidates": 120, "weight": 0.2}
    assert plan.systems == (
        system("words", legs=["bm25"]),
        system("both", legs={"bm25": {"depth": 50}, "bge": {}}, fusion=fusion, depth=200),
        system("reranked", legs=["bge"], reranker=reranker),
    )


def test_keys_of_earlier_versions_are_read_with_one_warning_that_shows_the_new_ones(tmp_path, caplog):
    (tmp_path / "systems.yaml").write_text(OLD_FILE)

    plan = read_systems(tmp_path / "systems.yaml", LEGS)

    reranker = {"model": "BAAI/bge-reranker-base", "candidates": 120, "weight": 0.2}
    assert plan.systems == (
        system("words", legs=["bm25"]),
        system("both", legs=["bm25", "bge"], fusion={"method": "rrf", "k": 20, "weights": [1, 2]}, depth=200),
        system("sum", legs=["bm25", "bge"], fusion={"method": "weighted-sum", "weights": [1, 2]}),
        system("method", legs=["bm25", "bge"], fusion={"method": "comb-sum"}),
        system("reranked", legs=["bge"], reranker=reranker),
    )
    (record,) = caplog.records
    assert "systems.yaml has keys of an earlier version: write fusion: {method: rrf" in record.getMessage()


def test_depth_and_precision_that_the_file_lacks_come_from_the_command(tmp_path, caplog):
    (tmp_path / "systems.yaml").write_text("systems: [{name: a, legs: [bm25], reranker: cross}]")

    (found,) = read_systems(tmp_path / "systems.yaml", LEGS, depth=7, dtype="float32").systems

    assert (found.config.depth, found.config.reranker.dtype) == (7, "float32")
    assert not caplog.records, "a reranker's name alone is a short form, not an old key"


def test_json_is_read_as_yaml_is(tmp_path):
    (tmp_path / "systems.json").write_text(json.dumps({"systems": [{"name": "words", "legs": ["bm25"]}]}))

    assert read_systems(tmp_path / "systems.json", LEGS).systems == (system("words", legs=["bm25"]),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("systems: []", "must hold a list `systems`"),
        ("[1, 2]", "must hold a list `systems`"),
        ("systems: [", "is not YAML"),
        ("systems: [{legs: [bm25]}]", "a system has no name"),
        ("systems: [{name: a, legs: [bm26]}]", "system 'a': there is no leg 'bm26': bm25"),
        ("systems: [{name: a, legs: bm25}]", "system 'a': legs must be a list"),
        ("systems: [{name: a, legs: [bm25, bm25]}]", "legs names 'bm25' twice"),
        ("systems: [{name: a b, legs: [bm25]}]", "no white space"),
        ("{systems: [{name: a, legs: [../x]}], legs: {../x: {kind: dense}}}", "leg '../x': its name is a file's name"),
        (
            "systems: [{name: a, legs: [bm25], fusion: bordeaux}]",
            "there is no fusion method 'bordeaux'; choose one of rrf",
        ),
        ("systems: [{name: a, legs: [bm25], weights: [1, 2]}]", "weights must be one for each leg"),
        ("systems: [{name: a, legs: [bm25], weights: heavy}]", "weights must be"),
        (
            "systems: [{name: a, legs: [bm25], depth: 0}]",
            "system 'a': depth must be a whole number of at least 1, not 0",
        ),
        (
            "systems: [{name: a, legs: [bm25], candidate: 5}]",
            "system 'a': unknown key 'candidate': known are name, legs",
        ),
        ("systems: [{name: a, legs: [bm25]}, {name: a, legs: [bm25]}]", "two systems are called 'a'"),
        (
            "{systems: [{name: a, legs: [x]}], legs: {x: {model: m}}}",
            "leg 'x': kind is missing: bm25, dense, sparse or tokens",
        ),
        (
            "{systems: [{name: a, legs: [x]}], legs: {x: {kind: wet}}}",
            "leg 'x': kind must be one of bm25, dense, sparse, tokens, not 'wet'",
        ),
        (
            "{systems: [{name: a, legs: [x]}], legs: {x: {kind: dense, index: ivf}}}",
            "leg 'x': index must be one of flat, hnsw, not 'ivf'",
        ),
        ("{systems: [{name: a, legs: [bm25]}], leg: {}}", "unknown key 'leg'"),
        ("{systems: [{name: a, legs: [bm25], workers: 2}]}", "unknown key 'workers': known are name, legs"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(tmp_path, text, says):
    (tmp_path / "systems.yaml").write_text(text)

    with pytest.raises(InputError, match=r"systems\.yaml") as caught:
        read_systems(tmp_path / "systems.yaml", LEGS)

    assert says in str(caught.value)


def test_the_depths_of_a_system_are_those_of_its_searches():
    reranked = system("a", legs=["bm25"], reranker={"model": "late-interaction", "candidates": 150})
    assert reranked.leg_depths(100) == {"bm25": 150} and reranked.deepest(100) == 150
    assert system("a", legs=["bm25"], depth=300).leg_depths(100) == {"bm25": 100}
    both = system("a", legs={"bm25": {}, "dense": {"depth": 400}}, depth=20)
    assert both.leg_depths(100) == {"bm25": 20, "dense": 400}
    assert (both.deepest(100), both.deepest(500)) == (400, 500)


def test_fields_are_weights_of_a_bm25_leg():
    assert LegSpec("a", "bm25", fields={"title": 2.0, "text": 1.0}).fields == {"title": 2.0, "text": 1.0}
    with pytest.raises(InputError, match="weights of a bm25 leg"):
        LegSpec("a", "dense", fields={"title": 2.0})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"legs": ["bm25"], "depth": 10}, {"legs": ["bm25"], "depth": 20, "fusion": {"method": "rrf"}}, True),
        ({"legs": ["bm25", "dense"]}, {"legs": ["bm25", "dense"], "fusion": {"method": "rrf"}}, False),
        ({"legs": ["bm25"], "reranker": "r"}, {"legs": ["bm25"], "reranker": {"model": "r", "candidates": 20}}, False),
        ({"legs": ["bm25"], "reranker": "r"}, {"legs": ["bm25"], "reranker": "copy/of/r"}, True),
    ],
)
def test_only_an_option_that_acts_decides_the_answers(one, other, same):
    assert (system("a", **one).determines == system("b", **other).determines) is same


def test_a_legs_settings_are_those_of_its_kind():
    assert LegSpec("a", "bm25").settings == {"kind": "bm25"}
    assert LegSpec("a", "sparse", "m").settings == {"kind": "sparse", "model": "m", "dtype": "auto"}
    assert LegSpec("a", "dense", index="hnsw").settings == {"kind": "dense", "dtype": "auto", "index": "hnsw"}
