"""The harness goes on where it was: nothing done twice, the same bytes each time."""

from functools import partial

import pytest

from benching import ALL, SETTINGS, bench, bytes_below, system
from indexing.runs import read_trec_run
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.harness import run_benchmark
from pipelines.evaluation.systems import Plan
from pipelines.evaluation.task import Settings
from pipelines.models import Models


def test_a_second_call_does_nothing_again_and_leaves_the_same_bytes(folder, legs, models, done):
    output, first, _ = done
    before = bytes_below(output, "runs", "per_query", "mteb")

    second, said = bench(folder, legs, models, output, *ALL)

    assert [line for line in said if "done before" in line] == [f"kitchen: {each.name}: done before" for each in ALL]
    assert not any("documents\n" in line or "4 queries" in line for line in said)
    assert bytes_below(output, "runs", "per_query", "mteb") == before
    assert second["datasets"] == first["datasets"]


def test_another_folder_gets_the_same_bytes(folder, legs, done, tmp_path):
    output, _, _ = done
    chosen = [each for each in ALL if each.name in ("words", "sum", "reranked")]

    bench(folder, legs, Models(), tmp_path, *chosen)

    before = bytes_below(output, "runs", "per_query", "mteb")
    assert bytes_below(tmp_path, "runs", "per_query", "mteb").items() <= before.items()


def test_an_interrupted_run_goes_on_where_it_was(folder, legs, models, tmp_path):
    def stop(line):
        if line.startswith("kitchen: sum"):
            raise KeyboardInterrupt

    systems = (system("words", "bm25"), system("meaning", "dense"), system("sum", "bm25", "dense"))
    load = partial(load_evaluation_set, folder, check_corpus=False)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark([load], Plan(legs, systems), tmp_path, models=models, settings=SETTINGS, say=stop)
    assert not (tmp_path / "results.json").exists()

    results, said = bench(folder, legs, models, tmp_path, *systems)

    assert [line for line in said if line.startswith("kitchen: ") and "both" not in line] == [
        "kitchen: words: done before",
        "kitchen: meaning: done before",
        "kitchen: sum: 4 queries",
    ]
    assert list(results["datasets"]["kitchen"]["systems"]) == ["words", "meaning", "sum"]


def test_only_what_changed_is_done_again(folder, legs, models, tmp_path):
    bench(folder, legs, models, tmp_path, system("words", "bm25"), system("sum", "bm25", "dense"))

    _, said = bench(
        folder,
        legs,
        models,
        tmp_path,
        system("words", "bm25"),
        system("sum", "bm25", "dense", fusion={"method": "rrf"}),
    )

    assert "kitchen: words: done before" in said
    assert "kitchen: sum: 4 queries" in said
    assert not any("documents\n" in line for line in said)


def test_candidates_of_an_interrupted_call_are_not_taken_for_those_of_another(folder, legs, models, tmp_path):
    few, more = (
        system("a", "bm25", "dense", reranker={"model": "late-interaction", "candidates": candidates})
        for candidates in (2, 5)
    )
    first, _ = bench(folder, legs, models, tmp_path, few)
    answer = tmp_path / "state" / "kitchen" / "systems" / "a.json"
    before = answer.read_bytes(), answer.with_suffix(".npz").read_bytes()
    bench(folder, legs, models, tmp_path, more)
    # As if that call had been stopped between keeping its candidates and keeping its answer.
    answer.write_bytes(before[0])
    answer.with_suffix(".npz").write_bytes(before[1])

    again, said = bench(folder, legs, models, tmp_path, few)

    ceilings = [found["datasets"]["kitchen"]["systems"]["a"]["ceiling"] for found in (first, again)]
    assert ceilings[0] == ceilings[1]
    assert "kitchen: a: 4 queries" in said


def test_other_measures_need_no_search(folder, legs, models, tmp_path):
    bench(folder, legs, models, tmp_path, system("words", "bm25"))

    more = Settings(k=6, measures=("P@1",), timing=False, show_progress=False)
    results, said = bench(folder, legs, models, tmp_path, system("words", "bm25"), settings=more)

    assert "kitchen: words: done before" in said
    assert set(results["datasets"]["kitchen"]["systems"]["words"]["measures"]) == {"P@1"}


def test_a_damaged_file_is_made_again(folder, legs, models, tmp_path):
    first, _ = bench(folder, legs, models, tmp_path, system("words", "bm25"))
    (tmp_path / "state" / "kitchen" / "systems" / "words.npz").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "state" / "kitchen" / "legs" / "bm25.json").write_text("{")

    second, said = bench(folder, legs, models, tmp_path, system("words", "bm25"))

    assert "kitchen: words: 4 queries" in said
    measures = [found["datasets"]["kitchen"]["systems"]["words"]["measures"] for found in (first, second)]
    assert measures[0] == measures[1]


def test_runs_of_an_earlier_call_do_not_stay_beside_results_that_lack_them(folder, legs, models, tmp_path):
    bench(folder, legs, models, tmp_path, system("words", "bm25"), system("meaning", "dense"))
    runs = tmp_path / "runs" / "kitchen"
    (runs / "somebodys.trec").write_text("a file that no results speak of")
    bench(folder, legs, models, tmp_path, system("words", "bm25"))
    assert {path.name for path in runs.iterdir()} == {"words.trec", "somebodys.trec"}

    theirs = {"theirs": str(runs / "words.trec")}
    bench(folder, legs, models, tmp_path, imported=theirs)
    assert {path.name for path in runs.iterdir()} == {"theirs.trec", "words.trec", "somebodys.trec"}


def test_a_corpus_that_changed_is_indexed_anew(folder, legs, models, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "kitchen")
    bench(copy, legs, models, tmp_path / "out", system("words", "bm25"))
    with (copy / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "oven", "title": "", "text": "oven recipe"}\n')

    results, said = bench(copy, legs, models, tmp_path / "out", system("words", "bm25"))

    assert "kitchen: words: 4 queries" in said
    assert results["datasets"]["kitchen"]["documents"] == 9
    assert "oven" in read_trec_run(tmp_path / "out" / "runs" / "kitchen" / "words.trec")["q1"]
