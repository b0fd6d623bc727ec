"""--fusion takes the names that `fusion=` takes in Python."""

import json
from pathlib import Path

import pytest

from checkpoints import write_bert
from corpus_files import write_lines
from pipelines.cli import main
from pipelines.search import SearchPipeline


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fusions")
    words = ["bread oven", "steel furnace", "bread virus", "oven heat", "virus heat"]
    write_lines(folder / "c.jsonl", [{"_id": f"d{at}", "text": text} for at, text in enumerate(words)])
    command = ["index", str(folder / "c.jsonl"), "--to", str(folder / "c"), "--quiet"]
    assert main([*command, "--dense", str(write_bert(folder / "bert"))]) == 0
    return folder / "c"


@pytest.mark.parametrize("name", ["qdrant", "rrf", "haystack", "comb-mnz"])
def test_a_presets_or_methods_name_fuses_as_in_python(
    collection: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["search", str(collection), "bread oven", "-k", "3", "--fusion", name, "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    with SearchPipeline.open(collection, fusion=name) as pipeline:
        expected = pipeline.search("bread oven", 3)
    assert [hit["doc_id"] for hit in hits] == [hit.doc_id for hit in expected]


def test_an_unknown_name_is_one_line_that_lists_the_known_ones(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "q.jsonl", [{"_id": "q", "text": "bread"}])
    (tmp_path / "qrels.tsv").write_text("q\td0\t1\n")
    judged = ["--queries", str(tmp_path / "q.jsonl"), "--qrels", str(tmp_path / "qrels.tsv"), "--no-timing"]
    for command in (["search", str(collection), "bread"], ["evaluate", str(collection), *judged]):
        assert main([*command, "--fusion", "nosuch"]) == 1
        said = capsys.readouterr().err
        assert "there is no fusion 'nosuch'" in said and "qdrant" in said and said.count("\n") == 1
    assert main(["evaluate", str(collection), *judged, "--fusion", "qdrant", "--systems", "hybrid"]) == 0
