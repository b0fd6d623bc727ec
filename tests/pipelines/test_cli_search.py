"""``retrieve search``, with all that can be asked of it."""

import json

import pytest

from pipelines import build_collection
from pipelines.cli import main


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
    assert "--filter takes JSON" in capsys.readouterr().err
