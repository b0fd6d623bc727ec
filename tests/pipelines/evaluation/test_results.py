"""Reading a results folder, and adding significance to results."""

import copy
import json

import numpy as np
import pytest
from results_folders import MEASURES, write_results

from indexing.errors import InputError
from pipelines.evaluation.closing_report import add_significance
from pipelines.evaluation.results import read_per_query, read_results

QRELS = {f"q{number}": {"good": 1} for number in range(25)}


def runs(*systems: str):
    random = np.random.default_rng(9)
    return {s: {q: {"good": float(random.random()), "bad": 0.5} for q in QRELS} for s in systems}


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
    expected = json.loads((tmp_path / "results.json").read_text())["datasets"]
    entries = copy.deepcopy(expected)
    for entry in entries.values():
        for row in entry["systems"].values():
            del row["significance"]

    add_significance(entries, tmp_path, "a")

    for name, entry in entries.items():
        assert "significance" not in entry["systems"]["a"]
        assert {s: row["significance"] for s, row in entry["systems"].items() if s != "a"} == {
            s: row["significance"] for s, row in expected[name]["systems"].items() if s != "a"
        }
    assert entries["one"]["systems"]["b"]["significance"]["nDCG@10"]["wins"] > 0


@pytest.mark.parametrize("baseline", [None, "another"])
def test_without_a_baseline_nothing_changes(tmp_path, baseline):
    write_results(tmp_path, {"one": (runs("a", "b"), QRELS)})
    entries = json.loads((tmp_path / "results.json").read_text())["datasets"]
    before = copy.deepcopy(entries)

    add_significance(entries, tmp_path, baseline)

    assert entries == before


def test_per_query_values_that_are_not_there_are_named(tmp_path):
    write_results(tmp_path, {"one": (runs("a"), QRELS)})
    (tmp_path / "per_query/one/a.json").unlink()

    with pytest.raises(InputError, match=r"per_query/one/a\.json of the system 'a' does not exist"):
        read_per_query(read_results(tmp_path).datasets["one"].systems["a"])
