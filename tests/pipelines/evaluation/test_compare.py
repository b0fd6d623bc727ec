"""`retrieve compare`: values, pairing by query, and what cannot be compared."""

import json

import numpy as np
import pytest
from results_folders import write_results

from pipelines.cli import main
from pipelines.measures.evaluate import evaluate
from pipelines.measures.significance import compare_paired, holm


def made_up(seed: int, skill: float, queries: int = 40) -> dict[str, dict[str, float]]:
    random = np.random.default_rng(seed)
    return {
        f"q{q}": {"good": float(random.random() < skill), "bad": 0.5, "worse": 0.25, "worst": 0.1}
        for q in range(queries)
    }


QRELS = {f"q{q}": {"good": 1} for q in range(40)}


@pytest.fixture
def before(tmp_path):
    (tmp_path / "before").mkdir()
    runs = {"bm25": made_up(1, 0.3), "dense": made_up(2, 0.5)}
    return write_results(tmp_path / "before", {"cooking": (runs, QRELS)}), runs


@pytest.fixture
def after(tmp_path):
    (tmp_path / "after").mkdir()
    runs = {
        "bm25": made_up(1, 0.3),
        "dense": made_up(3, 0.9),
        "splade": made_up(4, 0.8),
    }
    # The same queries in another order: they must be paired by id.
    return write_results(tmp_path / "after", {"cooking": (runs, dict(reversed(QRELS.items())))}), runs


def compared(capsys, *arguments):
    assert main(["compare", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_systems_of_one_name_are_paired_by_query(before, after, capsys):
    sides = compared(capsys, before[0], after[0])

    assert [(side["measure"], side["first"], side["second"]) for side in sides] == [
        (measure, system, system) for measure in ("nDCG@10", "RR@10", "R@100") for system in ("bm25", "dense")
    ]
    values = [evaluate(runs["dense"], QRELS, ["nDCG@10"]) for _, runs in (before, after)]
    expected = compare_paired(values[1].per_query["nDCG@10"], values[0].per_query["nDCG@10"])
    found = sides[1]["comparison"]
    assert sides[1]["means"] == [pytest.approx(scores.means["nDCG@10"]) for scores in values]
    assert found["difference"] == pytest.approx(expected.difference) and expected.difference > 0.1
    assert (found["wins"], found["ties"], found["losses"]) == (expected.wins, expected.ties, expected.losses)
    assert found["p_t"] == pytest.approx(expected.p_t)
    assert sides[0]["comparison"]["ties"] == 40
    assert [side["p_holm"] for side in sides[:2]] == holm([side["comparison"]["p_fisher"] for side in sides[:2]])


def test_the_table_shows_the_same_figures(before, after, capsys):
    sides = compared(capsys, before[0], after[0], "--measures", "nDCG@10")

    assert main(["compare", str(before[0]), str(after[0] / "results.json"), "--measures", "nDCG@10"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cooking" and lines[1].split()[:4] == ["measure", "system", "A", "B"]
    dense = lines[3].split()
    first, second = sides[1]["means"]
    assert dense[:5] == ["nDCG@10", "dense", f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}"]
    assert "*" in lines[3] and "*" not in lines[2]
    found = sides[1]["comparison"]
    assert dense[-1] == f"{found['wins']}/{found['ties']}/{found['losses']}"


def test_systems_of_different_names_are_set_beside_each_other(before, after, capsys):
    sides = compared(capsys, before[0], after[0], "--systems", "bm25=splade,dense", "--measures", "RR@10")

    assert [(side["first"], side["second"]) for side in sides] == [("bm25", "splade"), ("dense", "dense")]


def test_measures_may_hold_commas(tmp_path, capsys):
    measures = ["RBP(p=0.9,rel=1)", "P@1"]
    folder = write_results(tmp_path, {"cooking": ({"bm25": made_up(1, 0.5)}, QRELS)}, measures=measures)

    sides = compared(capsys, folder, folder, "--measures", "RBP(p=0.9,rel=1), P@1")

    assert [side["measure"] for side in sides] == measures


def test_other_queries_are_not_paired_and_it_says_why(before, tmp_path, capsys):
    (tmp_path / "fewer").mkdir()
    runs = {"dense": made_up(3, 0.9, 30)}
    fewer = write_results(tmp_path / "fewer", {"cooking": (runs, {q: QRELS[q] for q in list(QRELS)[:30]})})

    (side,) = compared(capsys, before[0], fewer, "--measures", "nDCG@10")
    assert side["comparison"] is None
    assert side["unpaired"] == "the queries differ: 10 only in the first, 0 only in the second ('q30' for one)"

    assert main(["compare", str(before[0]), str(fewer), "--measures", "nDCG@10"]) == 0
    out = capsys.readouterr().out
    assert "dense: not paired: the queries differ: 10 only in the first" in out
    assert f"{side['means'][1]:.4f}" in out


def test_without_per_query_values_the_means_are_compared(before, after, capsys):
    (after[0] / "per_query/cooking/dense.json").unlink()

    sides = compared(capsys, before[0], after[0], "--measures", "nDCG@10")

    assert sides[0]["comparison"] is not None
    assert sides[1]["comparison"] is None and "dense.json" in sides[1]["unpaired"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--systems", "sparse"], "the first has no system 'sparse' on cooking; it has: bm25, dense"),
        (["--systems", "dense=sparse"], "the second has no system 'sparse' on cooking; it has: bm25, dense, splade"),
        (["--systems", "dense="], "--systems takes names or A=B pairs"),
        (["--systems", "dense,dense=splade"], "names 'dense' twice"),
        (["--measures", "P@7"], "measure 'P@7' is not in both: the first has nDCG@10, RR@10, R@100"),
        (["--datasets", "baking"], "dataset 'baking' is not in both: the first has cooking; the second cooking"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(before, after, capsys, options, says):
    assert main(["compare", str(before[0]), str(after[0]), *options]) == 1

    assert says in capsys.readouterr().err


def test_results_with_nothing_in_common_are_refused(before, tmp_path, capsys):
    for name, dataset, system in (("other", "baking", "bm25"), ("new", "cooking", "new")):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, {dataset: ({system: made_up(1, 0.5)}, QRELS)})

    assert main(["compare", str(before[0]), str(tmp_path / "other")]) == 1
    assert "no dataset is in both: the first has cooking; the second baking" in capsys.readouterr().err
    assert main(["compare", str(before[0]), str(tmp_path / "new")]) == 1
    assert "no system in common" in (error := capsys.readouterr().err) and "bm25, dense, the second new" in error
    assert main(["compare", str(before[0]), str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err
