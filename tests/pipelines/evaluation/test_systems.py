"""Systems as configurations: read from files, refused with a reason."""

import json

import pytest

from indexing.errors import InputError
from pipelines.evaluation.systems import LegSpec, SystemSpec, read_systems

LEGS = {"bm25": LegSpec("bm25", "bm25")}
FILE = """
legs:
  bge: {kind: dense, model: BAAI/bge-base-en-v1.5, index: hnsw}
systems:
  - {name: words, legs: [bm25]}
  - {name: both, legs: [bm25, bge], fusion: rrf, weights: [1, 2], rrf_k: 20, depth: 200}
  - {name: reranked, legs: [bge], reranker: BAAI/bge-reranker-base, candidates: 120}
"""


def test_a_file_names_legs_and_systems(tmp_path):
    (tmp_path / "systems.yaml").write_text(FILE)

    plan = read_systems(tmp_path / "systems.yaml", LEGS)

    assert plan.legs["bge"] == LegSpec("bge", "dense", "BAAI/bge-base-en-v1.5", index="hnsw")
    assert plan.systems == (
        SystemSpec("words", ("bm25",)),
        SystemSpec("both", ("bm25", "bge"), fusion="rrf", weights=(1.0, 2.0), rrf_k=20, depth=200),
        SystemSpec("reranked", ("bge",), reranker="BAAI/bge-reranker-base", candidates=120),
    )


def test_json_is_read_as_yaml_is(tmp_path):
    (tmp_path / "systems.json").write_text(json.dumps({"systems": [{"name": "words", "legs": ["bm25"]}]}))

    assert read_systems(tmp_path / "systems.json", LEGS).systems == (SystemSpec("words", ("bm25",)),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("systems: []", "must hold a list `systems`"),
        ("[1, 2]", "must hold a list `systems`"),
        ("systems: [", "is not YAML"),
        ("systems: [{legs: [bm25]}]", "a system has no name"),
        ("systems: [{name: a, legs: [bm26]}]", "system 'a': there is no leg 'bm26': bm25"),
        ("systems: [{name: a, legs: bm25}]", "system 'a': legs must be a list"),
        ("systems: [{name: a, legs: [bm25, bm25]}]", "several different ones"),
        ("systems: [{name: a b, legs: [bm25]}]", "no white space"),
        ("{systems: [{name: a, legs: [../x]}], legs: {../x: {kind: dense}}}", "leg '../x': its name is a file's name"),
        ("systems: [{name: a, legs: [bm25], fusion: bordeaux}]", "there is no fusion 'bordeaux': rrf"),
        ("systems: [{name: a, legs: [bm25], weights: [1, 2]}]", "weights must be one for each leg"),
        ("systems: [{name: a, legs: [bm25], weights: heavy}]", "weights must be numbers"),
        ("systems: [{name: a, legs: [bm25], depth: 0}]", "depth must be a whole number of 1 or more, not 0"),
        ("systems: [{name: a, legs: [bm25], candidate: 5}]", "unknown option 'candidate': there are name, legs"),
        ("systems: [{name: a, legs: [bm25]}, {name: a, legs: [bm25]}]", "two systems are called 'a'"),
        ("{systems: [{name: a, legs: [x]}], legs: {x: {model: m}}}", "leg 'x' has no kind"),
        ("{systems: [{name: a, legs: [x]}], legs: {x: {kind: wet}}}", "no kind 'wet': bm25, dense, sparse"),
        ("{systems: [{name: a, legs: [x]}], legs: {x: {kind: dense, index: ivf}}}", "'flat' or 'hnsw', not 'ivf'"),
        ("{systems: [{name: a, legs: [bm25]}], leg: {}}", "unknown key 'leg'"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(tmp_path, text, says):
    (tmp_path / "systems.yaml").write_text(text)

    with pytest.raises(InputError, match=r"systems\.yaml") as caught:
        read_systems(tmp_path / "systems.yaml", LEGS)

    assert says in str(caught.value)


def test_a_reranker_that_reads_more_than_is_scored_deepens_the_legs():
    assert SystemSpec("a", ("bm25",), reranker="late-interaction", candidates=150).leg_depth(100) == 150
    assert SystemSpec("a", ("bm25", "dense"), depth=300).leg_depth(100) == 300
    assert SystemSpec("a", ("bm25",), depth=300).leg_depth(100) == 100


def test_fields_are_weights_of_a_bm25_leg():
    assert LegSpec("a", "bm25", fields={"title": 2.0, "text": 1.0}).fields == {"title": 2.0, "text": 1.0}
    with pytest.raises(InputError, match="weights of a bm25 leg"):
        LegSpec("a", "dense", fields={"title": 2.0})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"legs": ("bm25",), "candidates": 10}, {"legs": ("bm25",), "candidates": 20, "fusion": "rrf"}, True),
        ({"legs": ("bm25", "dense")}, {"legs": ("bm25", "dense"), "fusion": "rrf"}, False),
        ({"legs": ("bm25",), "reranker": "r"}, {"legs": ("bm25",), "reranker": "r", "candidates": 20}, False),
    ],
)
def test_only_an_option_that_acts_decides_the_answers(one, other, same):
    assert (SystemSpec("a", **one).determines == SystemSpec("b", **other).determines) is same


def test_a_legs_settings_are_those_of_its_kind():
    assert LegSpec("a", "bm25").settings == {"kind": "bm25"}
    assert LegSpec("a", "sparse", "m").settings == {"kind": "sparse", "model": "m", "dtype": "auto"}
    assert LegSpec("a", "dense", index="hnsw").settings == {"kind": "dense", "dtype": "auto", "index": "hnsw"}
