"""``retrieve search`` with its options."""

import json

import pytest

from pipelines import build_collection
from pipelines.cli import main
from pipelines.commands import GROUPS


@pytest.fixture(scope="module")
def collection(tmp_path_factory, corpus, minilm):
    path = tmp_path_factory.mktemp("cli") / "collection"
    build_collection(corpus, path, dense=minilm, show_progress=False)
    return str(path)


def test_explains_in_the_table_and_in_json(collection, capsys):
    assert main(["search", collection, "oven flour", "-k", "2", "--explain", "--timings"]) == 0
    table = capsys.readouterr().out
    assert "% of the fused score" in table
    assert "  flour " in table and "  oven " in table
    assert "dense.encode" in table and " ms" in table

    assert main(["search", collection, "oven flour", "-k", "2", "--explain", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "timings" not in answer and not answer["degraded"]
    legs = [hit["explanation"]["legs"] for hit in answer["hits"]]
    terms = [term["term"] for found in legs if "bm25" in found for term in found["bm25"]["terms"]]
    assert set(terms) == {"oven", "flour"}


def test_what_had_no_effect_is_noted_in_the_table_and_in_json(collection, capsys):
    assert main(["search", collection, "oven flour", "--group-by", "nosuch"]) == 0
    assert "  note: group_by had no effect: none of the hits has the field 'nosuch'" in capsys.readouterr().out
    assert main(["search", collection, "?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [
        "the query '?' contains no word: the leg 'bm25' finds nothing"
    ]


def test_a_reranker_with_a_budget(collection, capsys):
    command = ["search", collection, "bake bread", "--json", "--reranker", "late-interaction"]
    assert main([*command, "--candidates", "5", "--max-pairs", "3"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["reranked"] == 3 and len(answer["hits"]) == 8
    assert main([*command, "--max-ms", "-1"]) == 1
    assert "max_ms must be above 0" in capsys.readouterr().err


def test_a_configuration_of_ones_own(collection, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("legs: [bm25]\n")
    assert main(["search", collection, "datagrams", "--config", str(file), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["hits"][0]["legs"]) == {"bm25"}
    file.write_text("leg: [bm25]\n")
    assert main(["search", collection, "datagrams", "--config", str(file)]) == 1
    assert "mine.yaml: unknown key 'leg': known are" in capsys.readouterr().err


def test_what_is_shown(collection, capsys):
    assert main(["search", collection, "matrix", "--json", "--group-by", "year", "--mmr", "0.7", "-k", "3"]) == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 3
    assert main(["search", collection, "matrix", "--threshold", "2"]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main(["search", collection, "matrix", "--collapse", "7"]) == 1
    assert "collapse must be" in capsys.readouterr().err
    assert main(["search", collection, "matrix", "--filter", "{year}"]) == 1
    assert "--where takes a JSON object" in capsys.readouterr().err


def test_what_is_a_rerankers_needs_one(collection, capsys):
    for option, value in (("--candidates", "5"), ("--max-pairs", "3"), ("--max-ms", "9"), ("--rerank-weight", "0.3")):
        assert main(["search", collection, "matrix", "--legs", "bm25", option, value]) == 1
        assert f"{option} is for a reranker, and this search has none" in capsys.readouterr().err
    command = ["search", collection, "bake bread", "--json", "--reranker", "late-interaction"]
    assert main([*command, "--rerank-weight", "0", "--passages", "max"]) == 0
    for hit in json.loads(capsys.readouterr().out)["hits"]:
        assert hit["score"] == hit["legs"]["reranker"]["score"], "nothing of the first stage's is in it"


def test_the_fusion_may_have_options(collection, capsys):
    command = ["search", collection, "oven flour", "--json"]
    fusion = {"method": "comb-sum", "normalizer": "none", "missing": "score"}
    assert main([*command, "--fusion", json.dumps(fusion), "--depth", "bm25=1,dense=2", "--explain"]) == 0
    for hit in json.loads(capsys.readouterr().out)["hits"]:
        legs = hit["explanation"]["legs"]
        assert hit["score"] == pytest.approx(sum(leg["score"] for leg in legs.values()))
    for wrong, says in (
        (["--fusion", "{rrf}"], "--fusion is not valid JSON"),
        (["--weights", "1"], "weights for 1 leg, not for 2 legs: bm25, dense"),
        (["--depth", "bm25=many"], "--depth takes a number, or one per leg as in bm25=200,dense=50"),
        (["--rewrite", "cake"], "--rewrite is for a single query"),
    ):
        query = "-" if "--rewrite" in wrong else "oven flour"
        assert main(["search", collection, query, *wrong]) == 1
        assert says in capsys.readouterr().err


def test_a_question_in_other_words(collection, capsys):
    command = ["search", collection, "lost letters", "--rewrite", "packets may be lost", "--explain"]
    assert main([*command, "--json", "-k", "2"]) == 0
    best = json.loads(capsys.readouterr().out)["hits"][0]
    assert best["doc_id"] == "udp" and set(best["legs"]) == {"query 1", "query 2"}
    assert set(best["explanation"]["legs"]["query 2"]["legs"]) == {"bm25", "dense"}
    assert main([*command, "-k", "1"]) == 0
    table = capsys.readouterr().out
    assert "     query 2: " in table and "       bm25: " in table and "% of that" in table


def test_words_are_marked(collection, capsys):
    assert main(["search", collection, "baking oven", "-k", "1"]) == 0
    assert ">>bake<< in an >>oven<<" in capsys.readouterr().out
    assert main(["search", collection, "baking oven", "-k", "1", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    assert [hit["text"][start:end] for start, end in hit["highlights"]] == ["bake", "oven"]


def test_of_chunks_their_documents_are_shown(tmp_path, capsys):
    text = "# Bread\n\nKnead it. Bake the loaf.\n\n# Networks\n\nA kitchen has no networks. They lose packets."
    source, target = tmp_path / "handbook.jsonl", str(tmp_path / "c")
    source.write_text(json.dumps({"_id": "handbook", "title": "Handbook", "text": text}) + "\n", encoding="utf-8")
    chunks = ["--chunk", "markdown", "--chunk-size", "8", "--chunk-overlap", "0"]
    assert main(["index", str(source), "--to", target, "--no-dense", "--quiet", *chunks]) == 0
    capsys.readouterr()

    assert main(["search", target, "networks", "--explain"]) == 0
    table = capsys.readouterr().out
    assert "  1. handbook" in table and " passage found" in table and ">>Networks<<" in table
    assert "Handbook > Networks: " in table and f" of {len(text)}" in table
    assert main(["search", target, "loaf", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    assert (hit["doc_id"], hit["text"], hit["title"]) == ("handbook", text, "Handbook")
    (passage,) = hit["passages"]
    assert text[passage["start"] : passage["end"]] == passage["text"]
    assert [passage["text"][start:end] for start, end in hit["highlights"]] == ["loaf"]
    assert main(["search", target, "loaf", "--json", "--chunks"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["doc_id"].startswith("handbook#")


def test_help_lists_the_commands_by_what_they_are_for(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help_text = capsys.readouterr().out
    for purpose, commands in GROUPS.items():
        assert f"\n{purpose}:\n" in help_text
        for command in commands:
            assert f"\n  {command.__name__.rpartition('.')[2]} " in help_text
    with pytest.raises(SystemExit):
        main(["delete", "--help"])
    assert capsys.readouterr().out.startswith("usage: retrieve delete [-h]")
