"""``retrieve search --queries FILE``: many queries with ids, printed or written as a TREC run."""

import json
from pathlib import Path

import pytest

from checkpoints import write_bert
from corpus_files import write_lines
from indexing import Chunking, Document, read_trec_run
from indexing.corpora.chunked import chunk_document
from pipelines import build_collection
from pipelines.cli import main
from retrieve import DenseEncoder

QUERIES = [{"_id": "q1", "text": "bread oven"}, {"_id": "q2", "text": "steel"}, {"_id": "q3", "text": "nothing-here"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    documents = [
        Document("b1", "Bread bakes in a hot oven.", "Bread"),
        Document("b2", "An oven is hot."),
        Document("s1", "Steel melts at great heat.", "Steel"),
    ]
    build_collection(documents, folder / "c", show_progress=False)
    dense = DenseEncoder(write_bert(folder / "bert"), dtype="float32")
    build_collection(documents, folder / "dense", dense=dense, show_progress=False)
    long = [Document("long", "Bread is old. " * 30 + "Steel is new. " * 30)]
    chunks = [chunk for document in long for chunk in chunk_document(document, Chunking("sentences", size=20))]
    build_collection(chunks, folder / "chunks", show_progress=False)
    write_lines(folder / "queries.jsonl", QUERIES)
    (folder / "empty.jsonl").touch()
    return folder


def test_a_run_has_the_hits_of_single_searches_in_their_order(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "new" / "bm25.trec"
    assert main(["search", str(folder / "c"), "--queries", str(folder / "queries.jsonl"), "--run", str(run)]) == 0
    assert f"{run}: 3 hits for 3 queries, 1 without hits" in capsys.readouterr().out
    written = read_trec_run(run)
    for query in QUERIES:
        assert main(["search", str(folder / "c"), query["text"], "--json"]) == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        assert list(written.get(query["_id"], {}).items()) == [
            (hit["doc_id"], pytest.approx(hit["score"])) for hit in hits
        ]


def test_a_run_keeps_an_order_that_scores_do_not_have(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Diversity puts hits with lower scores before better ones; a reader of the file sorts by its scores.
    run = tmp_path / "run"
    command = ["search", str(folder / "dense"), "--queries", str(folder / "queries.jsonl"), "--mmr", "0"]
    assert main([*command, "--run", str(run)]) == 0
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    hits = json.loads(capsys.readouterr().out.splitlines()[0])["hits"]
    assert [hit["score"] for hit in hits] != sorted((hit["score"] for hit in hits), reverse=True)
    run_scores = read_trec_run(run)["q1"]
    assert sorted(run_scores, key=lambda doc_id: -run_scores[doc_id]) == [hit["doc_id"] for hit in hits]


def test_the_run_of_chunks_names_their_documents(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", str(folder / "chunks"), "--queries", str(folder / "queries.jsonl"), "--json", "--run"]
    assert main([*command, str(tmp_path / "documents")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["queries"], summary["hits"], summary["without_hits"]) == (3, 2, 1)
    assert set(read_trec_run(tmp_path / "documents")["q2"]) == {"long"}
    assert main([*command, str(tmp_path / "chunks"), "--chunks"]) == 0
    assert all(doc_id.startswith("long#") for doc_id in read_trec_run(tmp_path / "chunks")["q2"])


def test_without_a_run_answers_are_printed_with_the_ids_of_their_queries(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", str(folder / "c"), "--queries", str(folder / "queries.jsonl")]
    assert main([*command, "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(answer["query_id"], answer["query"]) for answer in answers] == [(q["_id"], q["text"]) for q in QUERIES]
    assert main(command) == 0
    assert "q2: steel\n  1. s1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bread", "--queries", "queries.jsonl"], "--queries stands in place of QUERY"),
        (["bread", "--run", "x"], "--run requires --queries FILE"),
        (["--queries", "queries.jsonl", "--rewrite", "y"], "--rewrite is for a single query"),
        (["--queries", "queries.jsonl", "--run", "x", "--explain"], "--explain does not go with --run"),
        (["--queries", "missing.jsonl", "--run", "x"], "missing.jsonl"),
        (["--queries", "empty.jsonl", "--run", "x"], "empty.jsonl has no queries"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    arguments: list[str], says: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["search", "c", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not (folder / "x").exists()


def test_the_query_may_stand_behind_options_and_is_required_without_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["-k", "1", "steel"], ["-k", "1", "--", "steel"], ["--", "steel"], ["steel", "-k", "1"]):
        assert main(["search", str(folder / "c"), *arguments]) == 0
        assert "1. s1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["search", str(folder / "c"), "-k", "1"])
    assert "the following arguments are required: QUERY" in capsys.readouterr().err
