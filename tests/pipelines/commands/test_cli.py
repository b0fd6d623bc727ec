"""The command line, from building a collection to deleting from it, and with wrong input."""

import json
import re
from pathlib import Path

import pytest

from corpus_files import CORPUS, write_lines
from indexing.collection.reader import Collection
from indexing.documents import Document
from pipelines import build_collection
from pipelines.cli import main


def test_index_search_info(corpus_file, tmp_path, capsys):
    directory = tmp_path / "collection"
    assert main(["index", str(corpus_file), "--to", str(directory), "--quiet"]) == 0
    summary = capsys.readouterr().out
    assert "3 documents" in summary
    assert "dense encoding" in summary
    assert f"retrieve search {directory}" in summary

    assert main(["search", str(directory), "how to bake", "-k", "2"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[1].startswith("  1. 1  ")
    assert "dense #1" in table

    assert main(["search", str(directory), "flour", "--json", "--fusion", "rrf", "--weights", "1,2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["hits"][0]["doc_id"] == "1"
    assert answer["hits"][0]["metadata"] == {"year": 1999}
    assert set(answer["hits"][0]["legs"]) == {"bm25", "dense"}

    assert main(["info", str(directory)]) == 0
    assert "bm25: bm25, 3 documents" in capsys.readouterr().out
    assert main(["info", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 3

    assert main(["index", str(corpus_file), "--to", str(directory)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_update_delete_compact_reindex_verify(corpus_file, tmp_path, capsys):
    directory = tmp_path / "c"
    assert main(["index", str(corpus_file), "--to", str(directory), "--quiet"]) == 0
    changed = [
        CORPUS[0],
        CORPUS[1] | {"text": "Arrange records by a key."},
        {"_id": "4", "text": "Rivers run downhill."},
    ]
    write_lines(tmp_path / "changed.jsonl", changed)
    capsys.readouterr()

    assert main(["index", str(tmp_path / "changed.jsonl"), "--to", str(directory), "--update", "--quiet"]) == 0
    assert "4 documents, 1 new, 1 changed, 1 unchanged" in capsys.readouterr().out
    assert main(["search", str(directory), "records key", "--json", "--legs", "bm25"]) == 0
    assert [hit["doc_id"] for hit in json.loads(capsys.readouterr().out)["hits"]] == ["2"]

    assert main(["delete", str(directory), "--ids", "3", "nothing"]) == 0
    assert "1 document deleted, 3 left; 1 id not found" in capsys.readouterr().out
    assert main(["search", str(directory), "network packets", "--json"]) == 0
    assert "3" not in [hit["doc_id"] for hit in json.loads(capsys.readouterr().out)["hits"]]

    assert main(["reindex", str(directory), "--dense-index", "hnsw", "--hnsw-m", "8", "--quiet"]) == 0
    assert "dense holds 3 documents" in capsys.readouterr().out
    assert main(["compact", str(directory), "--quiet"]) == 0
    assert "3 documents; 2 replaced or deleted ones removed" in capsys.readouterr().out
    assert main(["verify", str(directory)]) == 0
    assert capsys.readouterr().out == f"{directory}: no damage\n"

    remove = [
        "index",
        str(tmp_path / "changed.jsonl"),
        "--to",
        str(directory),
        "--update",
        "--remove-missing",
        "--quiet",
    ]
    assert main(remove) == 0
    assert "3 documents, 0 new, 0 changed, 3 unchanged" in capsys.readouterr().out
    write_lines(tmp_path / "changed.jsonl", changed[:1])
    assert main(remove) == 0
    assert "1 document, 0 new, 0 changed, 1 unchanged, 2 removed" in capsys.readouterr().out


def test_a_leg_that_moved_to_qdrant_is_updated_and_reranked_like_any(corpus_file, tmp_path, capsys):
    directory = tmp_path / "c"
    assert main(["index", str(corpus_file), "--to", str(directory), "--quiet"]) == 0
    assert main(["reindex", str(directory), "--dense-backend", "qdrant", "--quiet"]) == 0
    write_lines(tmp_path / "more.jsonl", [{"_id": "4", "text": "Rivers run downhill."}])
    assert main(["index", str(tmp_path / "more.jsonl"), "--to", str(directory), "--update", "--quiet"]) == 0
    capsys.readouterr()
    search = [
        "search",
        str(directory),
        "where does water flow",
        "--json",
        "--legs",
        "dense",
        "--reranker",
        "late-interaction",
    ]
    assert main(search) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["doc_id"] == "4"


def test_a_dense_leg_is_built_into_qdrant_and_info_says_what_it_is(corpus_file, tmp_path, capsys):
    directory = tmp_path / "c"
    build = ["index", str(corpus_file), "--to", str(directory), "--quiet", "--filter-field", "year:number"]
    qdrant = ["--dense-backend", "qdrant", "--hnsw-m", "8", "--quantization", "scalar", "--k1", "1.2"]
    assert main([*build, *qdrant]) == 0
    assert main([*build, *qdrant]) == 0
    assert "nothing to do" in capsys.readouterr().out
    where = ["--filter", '{"year": {"lt": 2000}}']
    assert main(["search", str(directory), "bake a cake", "--json", "--legs", "dense", *where]) == 0
    assert [hit["doc_id"] for hit in json.loads(capsys.readouterr().out)["hits"]] == ["1"]

    assert main(["info", str(directory)]) == 0
    printed = capsys.readouterr().out
    assert "filter fields: year (number)" in printed
    assert "dense: qdrant, 3 documents" in printed
    assert "metric cosine, m 8, quantization scalar" in printed
    assert "bm25: bm25, 3 documents" in printed
    assert "(k1 1.2)" in printed
    megabytes = float(re.search(r"dense: qdrant, 3 documents, ([\d.]+) MB", printed)[1])
    assert megabytes < 1

    assert main(["reindex", str(directory), "--dense-index", "hnsw"]) == 1
    says = "--dense-index does not apply to the leg 'dense', which is of backend qdrant"
    assert says in (err := capsys.readouterr().err)
    assert "--dense-backend faiss" in err
    assert main(["reindex", str(directory), "--dense-backend", "faiss", "--dense-index", "hnsw", "--quiet"]) == 0
    assert main(["reindex", str(directory), "--hnsw-m", "12", "--quiet"]) == 0
    assert "kind hnsw, m 12" in capsys.readouterr().out
    assert main(["reindex", str(directory), "--dense-index", "flat", "--quiet"]) == 0
    assert "(dimension 384, metric cosine, kind flat)" in capsys.readouterr().out


def test_filter_fields_are_declared_once_and_delete_uses_them(corpus_file, tmp_path, capsys):
    build = ["index", str(corpus_file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]
    assert main([*build, "--filter-field", "year:number"]) == 0
    assert main(["delete", str(tmp_path / "c"), "--where", '{"year": {"lt": 2000}}']) == 0
    assert "1 document deleted, 2 left" in capsys.readouterr().out
    for where, says in (('{"month": 1}', "declared are year"), ("{", "a JSON object"), ("{}", "not empty")):
        assert main(["delete", str(tmp_path / "c"), "--where", where]) == 1
        assert says in capsys.readouterr().err


def test_verify_names_damage_and_repair_mends_it_with_the_encoder(corpus_file, tmp_path, capsys):
    directory = tmp_path / "c"
    main(["index", str(corpus_file), "--to", str(directory), "--quiet"])
    capsys.readouterr()
    shard = directory / "shards" / "dense" / "000000.shard"
    shard.write_bytes(shard.read_bytes()[:-5])

    assert main(["verify", str(directory)]) == 1
    assert f"DAMAGE: {shard} ends at byte" in capsys.readouterr().out
    assert main(["verify", str(directory), "--repair"]) == 0
    assert capsys.readouterr().out.endswith("no damage\n")
    assert main(["verify", str(directory)]) == 0


def test_dry_run_reads_and_writes_nothing(corpus_file, tmp_path, capsys):
    assert main(["index", str(corpus_file), "--to", str(tmp_path / "c"), "--dry-run", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "3 documents" in said
    assert "dense encoding" in said
    assert "dense encoded" in said
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]
    write_lines(corpus_file, [CORPUS[0], CORPUS[0]])
    assert main(["index", str(corpus_file), "--to", str(tmp_path / "c"), "--dry-run", "--no-dense", "--quiet"]) == 1
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize(("which", "text"), [("first", "flour"), ("last", "salt")])
def test_on_duplicate_says_which_document_counts(tmp_path, capsys, which, text):
    file = write_lines(tmp_path / "corpus.jsonl", [CORPUS[0], CORPUS[1], {"_id": "1", "text": "salt"}])
    build = ["index", str(file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet", "--on-duplicate", which]
    assert main(build) == 0
    assert "2 documents, 1 with a repeated id" in capsys.readouterr().out
    assert main(["search", str(tmp_path / "c"), "flour salt", "--json"]) == 0
    hit = json.loads(capsys.readouterr().out)["hits"][0]
    assert hit["doc_id"] == "1"
    assert text in hit["text"]
    assert main(build) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_queries_from_standard_input(corpus_file, tmp_path, capsys, monkeypatch):
    main(["index", str(corpus_file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"])
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", iter(["flour\n", "\n", "zebra\n"]))
    assert main(["search", str(tmp_path / "c"), "-"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["zebra", "  nothing found"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([*CORPUS, '{"_id": "4", "text": '], ["corpus.jsonl", "line 4"]),
        ([*CORPUS, CORPUS[0]], ["corpus.jsonl", "line 4", "'1'"]),
        ([*CORPUS, {"_id": "4", "title": "", "text": " "}], ["corpus.jsonl", "line 4", "text"]),
        ([*CORPUS, {"_id": "4"}], ["corpus.jsonl", "line 4", "text"]),
        ([*CORPUS, {"text": "no id"}], ["corpus.jsonl", "line 4", "id"]),
        ([*CORPUS, {"_id": "4", "text": 7}], ["corpus.jsonl", "line 4", "text"]),
        ([], ["corpus.jsonl"]),
    ],
    ids=["broken", "duplicate", "empty text", "no text", "no id", "wrong type", "no documents"],
)
def test_a_bad_corpus_is_an_error_that_says_where_and_leaves_nothing(tmp_path, capsys, lines, says):
    file = write_lines(tmp_path / "corpus.jsonl", lines)

    assert main(["index", str(file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]) == 1

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for part in says:
        assert part in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl"]


def test_on_error_skip_keeps_the_good_and_records_the_bad(tmp_path, capsys):
    file = write_lines(tmp_path / "corpus.jsonl", [CORPUS[0], "{broken", CORPUS[1], CORPUS[0], CORPUS[2]])

    assert main(["index", str(file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet", "--on-error", "skip"]) == 0

    summary = capsys.readouterr().out
    assert "3 documents, 2 skipped" in summary
    recorded = [json.loads(line) for line in (tmp_path / "c.skipped.jsonl").read_text().splitlines()]
    assert len(recorded) == 2


def test_a_corpus_whose_name_is_that_of_the_skipped_records_survives(tmp_path, capsys):
    file = write_lines(tmp_path / "c.skipped.jsonl", CORPUS)
    for on_error in ("raise", "skip"):
        main(["index", str(file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet", "--on-error", on_error])
        assert len(file.read_text().splitlines()) == 3
    assert "it is the corpus itself" in capsys.readouterr().err


def test_what_was_built_with_skipped_lines_is_not_good_enough_without(tmp_path, capsys):
    file = write_lines(tmp_path / "corpus.jsonl", [CORPUS[0], "{broken"])
    build = ["index", str(file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]
    assert main([*build, "--on-error", "skip"]) == 0
    assert main([*build, "--overwrite"]) == 1
    assert "line 2" in capsys.readouterr().err
    assert (tmp_path / "c.skipped.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["index", "nowhere.jsonl", "--to", "x", "--no-dense"], "nowhere.jsonl"),
        (["index", "{corpus}", "--to", "x", "--no-dense", "--no-bm25"], "needs a leg"),
        (["index", "{corpus}", "--to", "x", "--dense", "./no-model"], "no-model"),
        (["search", "nowhere", "query"], "retrieve index CORPUS --to nowhere"),
        (["search", "{collection}", "query", "--legs", "dense"], "no leg 'dense': it has bm25"),
        (["search", "{collection}", "query", "--weights", "a"], "--weights takes numbers"),
        (["search", "{collection}", "query", "--reranker", "late-interaction"], "no dense leg"),
        (["info", "nowhere"], "is not a collection"),
        (["verify", "nowhere"], "is not a collection"),
        (["compact", "nowhere"], "is not a collection"),
        (["serve", "nowhere"], "is not a collection"),
        (["mcp", "nowhere"], "is not a collection"),
        (["delete", "nowhere", "--ids", "1"], "is not a collection"),
        (["index", "{corpus}", "--to", "nowhere", "--update"], "is not a collection"),
        (["index", "{corpus}", "--to", "x", "--remove-missing"], "requires --update"),
        (
            ["index", "{corpus}", "--to", "x", "--update", "--dense-index", "hnsw"],
            "--dense-index does not apply to --update",
        ),
        (["index", "{corpus}", "--to", "x", "--no-dense", "--filter-field", "year"], "takes NAME:TYPE"),
        (["index", "{corpus}", "--to", "x", "--no-dense", "--filter-field", "year:date"], "must be a date"),
        (["reindex", "{collection}", "--leg", "dense"], "no leg 'dense': --leg one of bm25"),
        (["reindex", "{collection}", "--leg", "bm25", "--hnsw-m", "8"], "--hnsw-m does not apply to the leg 'bm25'"),
        (["index", "{corpus}", "--to", "x", "--hnsw-m", "8"], "--hnsw-m does not apply to the leg 'dense'"),
        (["index", "{corpus}", "--to", "x", "--no-dense", "--hnsw-m", "8"], "--no-dense builds none"),
        (["index", "{corpus}", "--to", "x", "--no-dense", "--qdrant-shards", "2"], "requires --qdrant-url"),
        (
            ["index", "{corpus}", "--to", "x", "--update", "--dense-backend", "qdrant"],
            "--dense-backend does not apply to --update",
        ),
        (["search", "{collection}", " "], "the query is empty"),
        (["index", "{corpus}", "--to", "{corpus}/x", "--no-dense"], "cannot write in"),
        (["index", "{corpus}", "--to", "x", "--no-dense", "--text-field", "body"], "--text-field"),
    ],
)
def test_wrong_arguments_are_explained(tmp_path, monkeypatch, capsys, corpus_file, arguments, says):
    monkeypatch.chdir(tmp_path)
    main(["index", str(corpus_file), "--to", "collection", "--no-dense", "--quiet"])
    capsys.readouterr()
    filled = [part.format(corpus=corpus_file, collection="collection") for part in arguments]

    assert main(filled) == 1

    assert says in capsys.readouterr().err
    assert not Path("x").exists()


@pytest.mark.parametrize("arguments", [["search", "c", "q", "-k", "0"], ["index"], ["nothing"], []])
def test_wrong_usage_ends_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--filter", '{"year": 2020, "year": 1990}'),
        ("--filter", '{"or": [{"year": 2020, "year": 1990}]}'),
        ("--fusion", '{"method": "rrf", "k": 3, "k": 60}'),
        ("--boost", '{"field": "year", "field": "month"}'),
    ],
)
def test_a_key_that_occurs_twice_in_an_option_is_refused(tmp_path, capsys, option, value):
    """JSON does not say which of the values counts, and `delete` would remove what the other one names."""
    build_collection([Document("d", "bread", metadata={"year": 1990})], tmp_path / "c", fields={"year": "number"})
    assert main(["search", str(tmp_path / "c"), "bread", option, value]) == 1
    assert "occurs twice" in capsys.readouterr().err
    if option == "--filter":
        assert main(["delete", str(tmp_path / "c"), "--where", value]) == 1
        assert "occurs twice" in capsys.readouterr().err


def test_a_document_in_chunks_is_deleted_with_all_of_them(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    for name in ("ovens", "steel"):
        (tmp_path / "notes" / f"{name}.txt").write_text(f"A sentence about {name} and how they are made. " * 200)
    assert main(["index", str(tmp_path / "notes"), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]) == 0
    with Collection.open(tmp_path / "c") as collection:
        ids = sorted(collection.documents.ids())
    assert len([one for one in ids if one.startswith("ovens.txt#")]) > 1
    capsys.readouterr()
    assert main(["delete", str(tmp_path / "c"), "--ids", "ovens.txt", "nothing", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with Collection.open(tmp_path / "c") as collection:
        assert sorted(collection.documents.ids()) == [one for one in ids if one.startswith("steel")]
    assert (found["documents"], found["not_found"]) == (len(ids) - found["deleted"], 1)
