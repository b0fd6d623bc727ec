"""Evaluation sets: lookup by folder or name, splits, and errors."""

import json

import pytest

from indexing.errors import InputError
from pipelines.evaluation.checks import Checks, check_corpus
from pipelines.evaluation.datasets import BEIR_NAMES, load_evaluation_set, parse_reference

DOCUMENTS = [{"_id": f"d{number}", "title": "", "text": f"document {number}"} for number in range(4)]
QUERIES = [{"_id": f"q{number}", "text": f"query {number}"} for number in range(6)]
SPLITS = {"test": [("q0", "d0", 1), ("q3", "d1", 2), ("q3", "d2", 0)], "train": [("q1", "d1", 1)]}


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_beir(folder, splits=SPLITS):
    write_lines(folder / "corpus.jsonl", map(json.dumps, DOCUMENTS))
    write_lines(folder / "queries.jsonl", map(json.dumps, QUERIES))
    for split, judgements in splits.items():
        rows = ["\t".join(map(str, judgement)) for judgement in judgements]
        write_lines(folder / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *rows])
    return folder


@pytest.fixture
def beir(tmp_path):
    return make_beir(tmp_path / "tiny")


def test_a_folder_gives_the_corpus_and_the_judged_queries_of_one_split(beir):
    found = load_evaluation_set(beir)

    assert (found.name, found.split) == ("tiny", "test")
    assert [document.doc_id for document in found.corpus] == ["d0", "d1", "d2", "d3"]
    assert found.queries == {"q0": "query 0", "q3": "query 3"}
    assert found.qrels == {"q0": {"d0": 1}, "q3": {"d1": 2, "d2": 0}}
    assert load_evaluation_set(str(beir), "train").queries == {"q1": "query 1"}


@pytest.mark.parametrize("name", ["tiny", "scifact", "pydocs"])
def test_a_name_is_looked_up_in_the_data_folder_first(tmp_path, name):
    make_beir(tmp_path / "data" / name)

    assert load_evaluation_set(name, data_dir=tmp_path / "data").name == name


def test_the_data_folder_may_stand_in_the_environment(tmp_path, monkeypatch):
    make_beir(tmp_path / "data" / "scifact")
    monkeypatch.setenv("RETRIEVE_DATA", str(tmp_path / "data"))

    assert len(load_evaluation_set("scifact").queries) == 2


def test_a_hub_that_cannot_be_reached_is_named_with_the_ways_around_it(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RETRIEVE_DATA", raising=False)

    with pytest.raises(
        InputError, match=r"'BeIR/nfcorpus' could not be fetched.*RETRIEVE_DATA .*nfcorpus/corpus\.jsonl"
    ):
        load_evaluation_set("nfcorpus")


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"no collection 'scifcat'.*'pydocs'.*scifact.*also looked in"):
        load_evaluation_set("scifcat", data_dir=tmp_path)
    assert "nfcorpus" in BEIR_NAMES


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not in BEIR layout"):
        load_evaluation_set(tmp_path)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(beir):
    with pytest.raises(InputError, match=r"has no split 'dev' of judgements; it has: test, train"):
        load_evaluation_set(beir, "dev")


def test_judged_queries_without_a_text_are_left_out_counted_and_named(tmp_path, caplog):
    folder = make_beir(tmp_path / "tiny", {"test": [("q0", "d0", 1), ("stray", "d1", 1)]})

    found = load_evaluation_set(folder)

    assert (list(found.queries), list(found.qrels), found.unknown_queries) == (["q0"], ["q0"], 1)
    assert "1 judged query without a text, 'stray' for example" in caplog.text


def test_judgements_of_another_collection_are_refused(tmp_path):
    folder = make_beir(tmp_path / "tiny", {"test": [("stray", "d1", 1)]})

    with pytest.raises(InputError, match=r"none of the 1 judged queries has a text, 'stray' for example"):
        load_evaluation_set(folder)


def test_the_checks_count_what_bounds_or_distorts_the_scores(tmp_path):
    folder = make_beir(tmp_path / "tiny", {"test": [("q0", "d0", 1), ("q0", "gone", 1), ("q1", "nowhere", 0)]})
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(
            '{"_id": "blank", "title": " ", "text": ""}\n{"_id": "no title", "title": null, "text": ""}\n'
            '{"_id": "d0", "title": "", "text": "again"}\n'
        )
        file.write('{"_id": "q0", "title": "", "text": "a document that is called as a query is"}\n')
    found = load_evaluation_set(folder)

    checks = check_corpus(found.corpus, found.queries, found.qrels)

    assert [document.doc_id for document in found.corpus] == ["d0", "d1", "d2", "d3", "q0"]
    assert checks == Checks(
        documents=5,
        empty_documents=2,
        repeated_ids=1,
        missing_relevant=1,
        missing_judged=2,
        queries_without_relevant=1,
        shared_ids=1,
    )


def test_what_the_checks_find_is_said_in_warnings(tmp_path, caplog):
    folder = make_beir(tmp_path / "tiny", {"test": [("q0", "d0", 1), ("q1", "gone", 1), ("q2", "not relevant", 0)]})

    load_evaluation_set(folder)

    assert "1 document judged relevant and not in the corpus" in caplog.text
    assert "1 judged query without a relevant document" in caplog.text


def test_other_judgements_of_the_same_queries_replace_the_sets_own(beir):
    found = load_evaluation_set(beir)

    other = found.judged_by({"q3": {"d3": 1}, "elsewhere": {"d0": 1}})

    assert (other.qrels, other.queries) == ({"q3": {"d3": 1}}, {"q3": "query 3"})
    assert (found.altered, other.altered, other.unknown_queries) == (False, True, 1)


@pytest.mark.parametrize(
    ("reference", "means"),
    [
        ("scifact", ("scifact", "test")),
        ("msmarco", ("msmarco", "dev")),
        ("scifact:train", ("scifact", "train")),
        ("owner/name:NanoSciFact", ("owner/name", "NanoSciFact")),
    ],
)
def test_a_reference_names_a_set_and_its_split(reference, means):
    assert parse_reference(reference) == means


def test_a_broken_corpus_is_found_at_once_unless_told_otherwise(beir):
    with (beir / "corpus.jsonl").open("a") as file:
        file.write("broken\n")

    with pytest.raises(InputError, match=r"corpus\.jsonl, line 5"):
        load_evaluation_set(beir)
    assert len(load_evaluation_set(beir, check_corpus=False).queries) == 2


def test_a_text_that_is_null_is_no_empty_document_but_an_error(beir):
    with (beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d9", "title": "", "text": null}\n')

    with pytest.raises(InputError, match=r"corpus\.jsonl, line 5: the field 'text' must be a string"):
        load_evaluation_set(beir)


def test_limiting_keeps_the_same_queries_whatever_the_order(tmp_path):
    judgements = [(f"q{number}", "d0", 1) for number in range(6)]
    there = load_evaluation_set(make_beir(tmp_path / "there", {"test": judgements})).limited(3)
    back = load_evaluation_set(make_beir(tmp_path / "back", {"test": judgements[::-1]})).limited(3)

    assert len(there.queries) == 3
    assert there.queries.keys() == there.qrels.keys() == set(back.queries)
    assert there.limited(2).queries.keys() < there.queries.keys()
    assert there.limited(99) == there
    assert (there.altered, there.limited(2).limited(1).altered) == (True, True)
    with pytest.raises(InputError, match="at least 1 query"):
        there.limited(0)
