"""Kinds of index describe their own scores and precision; no other code asks for a kind by its name."""

import re
from pathlib import Path

import pytest

from indexing.collection.leg_parameters import with_parameters
from indexing.collection.manifest import Leg
from indexing.errors import InputError
from indexing.indexes.registry import KINDS, kind_of
from pipelines.deploy.certificate import bound_of, scale_of

ROOT = Path(__file__).parents[3]
CASES = [(backend, rows) for backend, (taken, _) in KINDS.items() for rows in taken]


@pytest.mark.parametrize(("backend", "rows"), CASES)
def test_what_a_kind_says_of_parameters_it_has(backend, rows):
    kind = kind_of(backend)
    assert kind.placing | kind.scoring(rows) <= kind.choices(rows, {})
    assert kind.precision(rows, {}) in ("exact", "rounded") and kind.score_scale({}) > 0
    assert bool(kind.scoring(rows)) == (rows == "text")


@pytest.mark.parametrize(
    ("one", "other", "setting", "scale"),
    [
        (Leg("bm25"), Leg("qdrant", parameters={"analyzer": "anserini-default-english"}), "exact", 1),
        (Leg("bm25"), Leg("qdrant", parameters={"analyzer": "english"}), "analysed", 1),
        (Leg("impact"), Leg("qdrant", parameters={"columns": 9}), "rounded", 1e4),
        (Leg("impact"), Leg("impact"), "exact", 1),
        (Leg("impact"), Leg("postings", parameters={"columns": 9}), "rounded", 1e4),
        (Leg("postings"), Leg("qdrant", parameters={"columns": 9}), "exact", 1),
        (Leg("impact", parameters={"scale": 10}), Leg("impact"), "rounded", 0.01),
        (Leg("faiss"), Leg("faiss", parameters={"kind": "hnsw"}), "graph", 1),
        (Leg("faiss"), Leg("faiss", parameters={"kind": "binary"}), "quantised", 1),
        (Leg("faiss"), Leg("qdrant", parameters={"dimension": 4, "quantization": "scalar"}), "quantised", 1),
        (Leg("tokens"), Leg("qdrant", parameters={"metric": "maxsim", "m": 0}), "graph", 1),
        (Leg("tokens", parameters={"bits": 4}), Leg("tokens"), "quantised", 1),
    ],
)
def test_the_bound_of_a_certificate_follows_from_both_kinds(one, other, setting, scale):
    assert bound_of(one, other).setting == setting and bound_of(other, one).setting == setting
    assert scale_of(one, other) == pytest.approx(scale)


def test_a_leg_keeps_how_it_scores_in_another_kind_of_index():
    words = Leg("bm25", parameters={"k1": 1.2, "b": 0.7, "analyzer": "de", "positions": True, "weights": None})
    moved = with_parameters(words, "bm25", "qdrant", {"on_disk": True})
    assert moved.parameters == {"k1": 1.2, "b": 0.7, "analyzer": "de", "on_disk": True}
    assert with_parameters(moved, "bm25", "bm25", {}).parameters == {"k1": 1.2, "b": 0.7, "analyzer": "de"}
    for lost in ("similarity", "weights"):
        with pytest.raises(InputError, match=f"has the parameter '{lost}', by which it scores"):
            with_parameters(Leg("bm25", parameters={"positions": True, lost: "x"}), "bm25", "qdrant", {})
    vectors = Leg("faiss", parameters={"dimension": 4, "metric": "cosine", "kind": "hnsw", "m": 8})
    assert with_parameters(vectors, "dense", "qdrant", {}).parameters == {"dimension": 4, "metric": "cosine"}


def test_no_other_file_asks_for_a_kind_by_its_name():
    names = "|".join(KINDS)
    asking = re.compile(rf'backend (==|!=|in|not in) \(?"({names})"')
    files = [*ROOT.glob("indexing/**/*.py"), *ROOT.glob("retrieve/**/*.py"), *ROOT.glob("pipelines/**/*.py")]
    others = [file for file in files if "indexing/indexes" not in file.as_posix()]
    assert len(others) > 300
    assert [str(file) for file in others if asking.search(file.read_text("utf-8"))] == []
