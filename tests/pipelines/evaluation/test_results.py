"""A results folder read back, and its significance added."""

import json

import numpy as np
import pytest
from results_folders import MEASURES, write_results

from indexing.errors import InputError
from pipelines.evaluation.results import add_significance, read_per_query, read_results
from pipelines.measures.significance import compare_systems

QRELS = {f"q{number}": {"good": 1} for number in range(25)}


def runs(*systems: str):
    random = np.random.default_rng(9)
    return {s: {q: {"good": float(random.random()), "bad": 0.5} for q in QRELS} for s in systems}


def without_significance(folder):
    path = folder / "results.json"
    found = json.loads(path.read_text())
    for dataset in found["datasets"].values():
        for system in dataset["systems"].values():
            del system["significance"]
    path.write_text(json.dumps(found))
    return found


def test_what_was_written_is_read(tmp_path):
    write_results(tmp_path, {"one": (runs("a", "b"), QRELS)}, baseline="a")

    results = read_results(tmp_path / "results.json")

    assert (results.baseline, results.measures, results.folder) == ("a", MEASURES, tmp_path)
    assert results.datasets["one"].systems["b"].cost == {"p50_ms": 73.5, "p95_ms": 30.25, "index_bytes": 2_000_000}
    system = results.datasets["one"].systems["a"]
    assert system.run == tmp_path / "runs/one/a.trec" and system.run.is_file()
    scores = read_per_query(system)
    assert scores.query_ids == tuple(QRELS)
    assert scores.means == pytest.approx(system.measures)


def test_significance_is_added_as_the_tests_give_it(tmp_path):
    write_results(tmp_path, {"one": (runs("a", "b", "c"), QRELS), "two": (runs("a", "b"), QRELS)}, baseline="a")
    before = without_significance(tmp_path)

    add_significance(tmp_path)

    after = json.loads((tmp_path / "results.json").read_text())
    for name, dataset in after["datasets"].items():
        values = {
            system: read_per_query(found).per_query
            for system, found in read_results(tmp_path).datasets[name].systems.items()
        }
        expected = compare_systems(values, "a")
        assert {s: row.pop("significance") for s, row in dataset["systems"].items() if s != "a"} == expected
        assert expected["b"]["nDCG@10"]["wins"] > 0
    assert after == before


def test_systems_that_cannot_be_paired_are_left_out(tmp_path):
    write_results(tmp_path, {"one": (runs("a", "b", "c"), QRELS)}, baseline="a")
    found = without_significance(tmp_path)
    found["datasets"]["one"]["systems"]["b"]["per_query"] = None
    (tmp_path / "results.json").write_text(json.dumps(found))
    path = tmp_path / "per_query/one/c.json"
    path.write_text(json.dumps({"query_ids": ["x"], "measures": {measure: [0.5] for measure in MEASURES}}))

    add_significance(tmp_path)

    systems = read_results(tmp_path).datasets["one"].systems
    assert all(not system.significance for system in systems.values())


def test_without_a_baseline_nothing_changes(tmp_path):
    write_results(tmp_path, {"one": (runs("a", "b"), QRELS)})
    before = without_significance(tmp_path)

    add_significance(tmp_path)

    assert json.loads((tmp_path / "results.json").read_text()) == before


def test_per_query_values_that_are_not_there_are_named(tmp_path):
    write_results(tmp_path, {"one": (runs("a"), QRELS)})
    (tmp_path / "per_query/one/a.json").unlink()

    with pytest.raises(InputError, match=r"per_query/one/a\.json of the system 'a' is not there"):
        read_per_query(read_results(tmp_path).datasets["one"].systems["a"])
