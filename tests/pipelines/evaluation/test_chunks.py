"""A collection of chunks is scored and tuned by documents: each once, at its best chunk."""

import json

import numpy as np
import pytest

from indexing.collection.reader import Collection
from indexing.corpora.chunked import ChunkedCorpus
from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import read_corpus
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.runs import read_trec_run
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.search.judged_parents import Parents, judges_parents, parent_contents, stored_document
from pipelines.tuning.fusion import Choice, run_legs, score_choices

TOPICS = {
    "bread": "Knead the dough with flour. Let the yeast rise for an hour. Bake the loaf in a hot oven.",
    "steel": "Melt the iron in a furnace. Remove the carbon with oxygen. Roll the slab while it glows.",
    "virus": "Measles spreads through the air. A vaccine trains the immune system. Two doses protect for life.",
    "music": "A violin has four strings. The bow is made of horse hair. An orchestra tunes to the oboe.",
    "ocean": "Tides follow the moon. Salt makes water heavy. Whales sing across a whole ocean.",
    "print": "Set the type in a frame. Ink the letters with a roller. Press the paper with a lever.",
}
QUERIES = {
    "q1": ("knead flour yeast", "bread"),
    "q2": ("carbon furnace iron", "steel"),
    "q3": ("vaccine doses measles", "virus"),
    "q4": ("violin bow orchestra", "music"),
    "q5": ("whales salt moon", "ocean"),
    "q6": ("ink type paper", "print"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, minilm):
    folder = tmp_path_factory.mktemp("chunks")
    lines = [{"_id": name, "title": name.title(), "text": text} for name, text in TOPICS.items()]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    corpus = ChunkedCorpus(read_corpus(folder / "c.jsonl"), Chunking(size=8, overlap=0))
    build_collection(corpus, folder / "c", dense=minilm, show_progress=False)
    queries = [{"_id": name, "text": text} for name, (text, _) in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("".join(f"{name}\t{doc}\t1\n" for name, (_, doc) in QUERIES.items()))
    (folder / "chunks.tsv").write_text("".join(f"{name}\t{doc}#0\t1\n" for name, (_, doc) in QUERIES.items()))
    (folder / "foreign.tsv").write_text("".join(f"{name}\tother-{doc}\t1\n" for name, (_, doc) in QUERIES.items()))
    return folder


def judged(folder, qrels="qrels.tsv"):
    return ["--queries", str(folder / "queries.jsonl"), "--qrels", str(folder / qrels)]


def test_each_document_counts_once_with_its_best_chunk():
    chunks = Hits.from_run({"q": {"a#1": 3.0, "b#0": 2.5, "a#0": 2.0, "c": 1.0}, "r": {"b#1": 1.0}}, ["q", "r"])
    parents = Parents({"a#0": "a", "a#1": "a", "b#0": "b", "b#1": "b"})

    assert parents.judge(chunks).to_run(["q", "r"]) == {"q": {"a": 3.0, "b": 2.5, "c": 1.0}, "r": {"b": 1.0}}
    assert parents.judge(chunks, 2).to_run(["q", "r"]) == {"q": {"a": 3.0, "b": 2.5}, "r": {"b": 1.0}}
    assert parents.judge(Hits.empty(2)).counts.tolist() == [0, 0]


def test_evaluate_scores_documents_with_every_system(folder, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["evaluate", str(folder / "c"), *judged(folder), "--output", str(output), "--no-timing", "--k", "3"]
    assert main([*command, "--reranker", "late-interaction"]) == 0

    entry = json.loads((output / "results.json").read_text())["datasets"]["c"]
    assert entry["checks"]["missing_judged"] == 0
    assert list(entry["systems"]) == ["bm25", "dense", "hybrid", "hybrid+rerank"]
    for name, row in entry["systems"].items():
        assert row["measures"]["nDCG@10"] == 1.0, name
        run = read_trec_run(output / "runs" / "c" / f"{name}.trec")
        assert set(run["q1"]) <= set(TOPICS) and 1 <= len(run["q1"]) <= 3
    assert main(command) == 0
    assert "done before" in capsys.readouterr().err


def test_tune_scores_documents(folder, capsys):
    assert (
        main(["tune", str(folder / "c"), *judged(folder), "--folds", "2", "--depths", "50", "--json", "--quiet"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert report["legs"] == {"bm25": 1.0, "dense": 1.0}
    assert report["default"] == 1.0


def test_the_weight_of_a_reranker_is_tuned_on_documents(folder, capsys):
    command = ["tune", str(folder / "c"), *judged(folder), "--folds", "2", "--depths", "50", "--json", "--quiet"]
    assert main([*command, "--reranker", "late-interaction", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["reranker"]["by_weight"][-1]["mean"] == 1.0


def test_judgements_of_chunks_judge_chunks(folder):
    qrels = {"q1": {"bread#0": 1}}
    with Collection.open(folder / "c") as collection:
        assert not judges_parents(collection.documents, qrels, "c")
    runs = run_legs(folder / "c", {"q1": "knead flour"}, qrels=qrels, show_progress=False)
    assert runs.parents is None
    choice = Choice({"method": "rrf"}, 50)
    assert score_choices(runs, qrels, [choice], show_progress=False) == np.ones((1, 1))


@pytest.mark.parametrize("command", [["evaluate", "--no-timing"], ["tune", "--folds", "2", "--quiet"]])
def test_judgements_of_another_corpus_are_an_error_not_zeros(folder, capsys, command):
    name, *options = command
    assert main([name, str(folder / "c"), *judged(folder, "foreign.tsv"), *options]) == 1
    error = capsys.readouterr().err
    assert "none of the 6 judged documents ('other-bread', for one) is in" in error
    assert "Traceback" not in error


def test_judgements_of_another_corpus_are_an_error_without_chunks(tmp_path, corpus):
    build_collection(corpus, tmp_path / "c", show_progress=False)
    with Collection.open(tmp_path / "c") as collection:
        with pytest.raises(InputError, match="none of the 1 judged documents"):
            judges_parents(collection.documents, {"q": {"nowhere": 1}}, tmp_path / "c")
        assert not judges_parents(collection.documents, {"q": {"nowhere": 1, "svd": 1}}, tmp_path / "c")


def test_a_document_is_found_by_its_id_or_that_of_a_chunk_and_only_if_all_of_it_may_be_seen(folder):
    with Collection.open(folder / "c") as collection:
        store = collection.documents
        assert stored_document(store, "bread").doc_id == "bread"
        assert stored_document(store, "bread#0").doc_id == "bread#0"
        assert stored_document(store, "nowhere") is None
        assert stored_document(store, "bread", lambda part: part.doc_id == "bread#0") is None


def test_the_text_of_a_document_is_put_together_from_its_chunks(folder):
    with Collection.open(folder / "c") as collection:
        assert parent_contents(collection.documents, "bread") == f"Bread {TOPICS['bread']}"
        assert parent_contents(collection.documents, "bread#0").startswith("Bread Knead")
        assert parent_contents(collection.documents, "nowhere") == ""
