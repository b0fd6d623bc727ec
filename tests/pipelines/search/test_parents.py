"""Chunks are searched, documents are shown: whole, once each, with the passages and words that found them."""

import json
from pathlib import Path

import pytest

from indexing.corpora.chunked import chunk_document
from indexing.corpora.chunking import Chunking
from indexing.documents import Document
from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from pipelines.cli import main
from pipelines.search import Refine
from pipelines.search.highlight import Highlight, best_window, highlight
from pipelines.search.parents import search_parents

KITCHEN = """# Bread

Knead the dough. Let it rise. Bake the loaf for an hour.

# Networks

A kitchen has none.
"""
DOCUMENTS = [
    Document("kitchen", KITCHEN, "Handbook", {"lang": "en"}),
    Document("nets", "Packets get lost. Networks route packets again. Loaves are not routed."),
    Document("one", "A short text of baking."),
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    path = tmp_path_factory.mktemp("parents") / "collection"
    chunking = Chunking(by="markdown", size=10, overlap=3)
    chunks = [chunk for document in DOCUMENTS for chunk in chunk_document(document, chunking)]
    assert len(chunks) == 6
    build_collection([*chunks, Document("whole", "Baking, uncut.")], path, show_progress=False)
    with SearchPipeline.open(path) as pipeline:
        yield pipeline


class TestParents:
    def test_are_whole_and_stand_once(self, pipeline):
        found = search_parents(pipeline, "bake packets")
        assert {result.document.doc_id for result in found} == {"kitchen", "nets", "one", "whole"}
        by_id = {result.document.doc_id: result for result in found}
        for document in DOCUMENTS:
            assert by_id[document.doc_id].document == document
        assert [result.rank for result in found] == [1, 2, 3, 4]
        scores = [result.score for result in found]
        assert scores == sorted(scores, reverse=True)

    def test_passages_lie_where_they_say(self, pipeline):
        for result in search_parents(pipeline, "bake a loaf in the networks"):
            assert result.score == result.passages[0].score == max(passage.score for passage in result.passages)
            for (start, end), passage in zip(result.spans, result.passages, strict=True):
                assert result.document.text[start:end] == passage.text

    def test_the_best_are_those_of_one_hit_a_group(self, pipeline):
        grouped = pipeline.search("packets in networks", 2, refine=Refine(group_by="parent_id"))
        found = search_parents(pipeline, "packets in networks", 2)
        assert [result.passages[0].doc_id for result in found] == [result.doc_id for result in grouped]

    def test_nothing_found(self, pipeline):
        assert search_parents(pipeline, "zzz") == []


class TestHighlight:
    def test_words_are_the_same_as_for_bm25(self, pipeline):
        text = "Baked goods: the baker bakes a LOAF, and what of loaves?"
        (found,) = highlight(pipeline, "the baking of a loaf", [text])
        assert [text[start:end] for start, end in found.spans] == ["Baked", "bakes", "LOAF"]
        assert found.marked("<b>", "</b>").startswith("<b>Baked</b> goods: the baker <b>bakes</b> a <b>LOAF</b>,")

    def test_every_text_has_its_own(self, pipeline):
        texts = ["", "no such word", "packets", "東京は首都です"]
        found = highlight(pipeline, "lost packets 東京", texts)
        assert [[text[start:end] for start, end in each.spans] for each, text in zip(found, texts, strict=True)] == [
            [],
            [],
            ["packets"],
            ["東", "京"],
        ]
        assert highlight(pipeline, "", ["text"])[0].spans == [] and highlight(pipeline, "text", []) == []

    def test_what_bm25_matched_is_marked(self, pipeline):
        for result in pipeline.search("baking bread and routing packets", k=5, explain=True):
            terms = result.explanation.legs["bm25"].terms
            (found,) = highlight(pipeline, "baking bread and routing packets", [f"{result.title} {result.text}"])
            marked = {found.text[start:end].lower()[:3] for start, end in found.spans}
            assert marked == {term[:3] for term, _ in terms}

    def test_without_bm25_by_the_word_itself(self, tmp_path, minilm):
        build_collection(DOCUMENTS, tmp_path / "c", bm25=False, dense=minilm, show_progress=False)
        with SearchPipeline.open(tmp_path / "c", dense=minilm) as pipeline:
            (found,) = highlight(pipeline, "Loaf baking", ["the loaf is baked"])
        assert found.marked() == "the **loaf** is baked"

    def test_a_snippet_is_where_most_words_are(self):
        text = "alpha " + "x " * 50 + "alpha alpha " + "y " * 50 + "alpha beta" + " z" * 50
        spans = [(start, start + 5) for start in (0, 106, 112)] + [(218, 223), (224, 228)]
        assert [text[start:end] for start, end in spans] == ["alpha"] * 4 + ["beta"]
        assert Highlight(text, spans).snippet(20) == "…y y **alpha** **beta** z z…"
        assert Highlight(text, spans[:3]).snippet(15) == "…x **alpha** **alpha** y…"
        assert Highlight("short alpha", [(6, 11)]).snippet() == "short **alpha**"
        assert Highlight("one two three four", []).snippet(9) == "one two…", "cut before the word"

    def test_a_window_is_never_longer_than_asked_for(self):
        text = "aaaa bbbb cccc dddd eeee"
        for length in range(1, 30):
            for spans in ([], [(5, 9)], [(0, 4), (20, 24)], [(20, 24)]):
                start, end = best_window(text, spans, length)
                assert 0 <= start < end <= len(text) and end - start <= length
        with pytest.raises(InputError, match="length must be"):
            best_window("text", [], 0)


class TestUse:
    @pytest.fixture
    def source(self, tmp_path):
        path = tmp_path / "handbook.jsonl"
        rows = [{"_id": d.doc_id, "title": d.title, "text": d.text, **d.metadata} for d in DOCUMENTS]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return path

    def test_the_example_of_the_docs(self, source, tmp_path, capsys):
        page = (Path(__file__).parents[3] / "docs" / "chunking.md").read_text("utf-8")
        code = page.split("```python\n")[1].split("```")[0].replace("how do vaccines work", "how long to bake bread")
        exec(compile(code, "chunking.md", "exec"), {"source": source, "target": tmp_path / "c"})
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("1 kitchen Handbook > Bread (0, ") and "**Bake**" in lines[1]
        assert len(lines) == 6

    def test_on_the_command_line(self, source, tmp_path, capsys):
        command = ["index", str(source), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]
        chunked = [*command, "--chunk", "sentences", "--chunk-size", "8", "--chunk-overlap", "0"]
        assert main(chunked) == 0
        with SearchPipeline.open(tmp_path / "c") as pipeline:
            assert [result.document.doc_id for result in search_parents(pipeline, "loaves")] == ["nets"]
        assert main(chunked) == 0 and "nothing to do" in capsys.readouterr().out
        assert main([*chunked[:-1], "1"]) == 1 and "already holds a collection" in capsys.readouterr().err
        assert main([*chunked, "--update"]) == 1 and "--remove-missing" in capsys.readouterr().err
        source.write_text(json.dumps({"_id": "nets", "text": "Loaves only."}) + "\n", encoding="utf-8")
        assert main([*chunked, "--update", "--remove-missing"]) == 0
        with SearchPipeline.open(tmp_path / "c") as pipeline:
            (found,) = search_parents(pipeline, "loaves")
        assert found.document == Document("nets", "Loaves only.")
        assert main([*command, "--chunk", "tokens", "--chunk-size", "0", "--overwrite"]) == 1
        assert "size (--chunk-size) must be at least 1" in capsys.readouterr().err
