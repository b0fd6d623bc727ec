"""Chunking: examples worked by hand; for any text, no character is lost and no chunk is too long."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.corpora.chunked import ChunkedCorpus, assemble, chunk_document, is_chunk, siblings
from indexing.corpora.chunking import Chunk, Chunking, markdown_sections, sentence_starts, words
from indexing.corpora.corpus import read_corpus
from indexing.documents import Document
from indexing.errors import InputError


def pieces(text, **how):
    return [text[chunk.start : chunk.end] for chunk in Chunking(**how)(text)]


def sentences(text):
    starts = sentence_starts(text)
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


class TestTokens:
    def test_pieces_of_so_many_tokens_share_so_many(self):
        assert pieces("a b c d e f g", by="tokens", size=3, overlap=1) == ["a b c ", "c d e ", "e f g"]
        assert pieces("a b c d e f g", by="tokens", size=3, overlap=0) == ["a b c ", "d e f ", "g"]
        assert pieces("a b c", by="tokens", size=3, overlap=2) == ["a b c"]

    def test_a_mark_is_a_token(self):
        assert [("it's 3.5!")[start:end] for start, end in words("it's 3.5!")] == ["it", "'", "s", "3", ".", "5", "!"]

    def test_a_text_without_words_is_one_piece(self):
        assert pieces("", by="tokens") == [""]
        assert pieces("  \n", by="sentences") == ["  \n"]

    def test_tokens_of_a_model(self, minilm):
        from retrieve.reranking.passages import Windows

        windows = Windows(minilm)
        text = "Phenylketonuria is an inherited disorder. " * 20
        how = Chunking(by="tokens", size=16, overlap=4, tokens=lambda text: windows.spans([text])[0].tolist())
        cut = [text[chunk.start : chunk.end] for chunk in how(text)]
        assert len(cut) > 10 and max(len(spans) for spans in windows.spans(cut)) <= 18


class TestSentences:
    def test_where_sentences_begin(self):
        assert sentences("It is. Is it? “Yes!” he said.") == ["It is. ", "Is it? ", "“Yes!” he said."]
        assert sentences("See e.g. Smith vs. J. Doe (Fig. 3). It costs 3.5 euro. Done") == [
            "See e.g. Smith vs. J. Doe (Fig. 3). ",
            "It costs 3.5 euro. ",
            "Done",
        ]
        assert sentences("A title\n\nthen text") == ["A title\n\n", "then text"]
        assert sentences("東京は首都です。大阪は違います。") == ["東京は首都です。", "大阪は違います。"]
        assert sentences("") == [""]

    def test_whole_sentences_as_many_as_fit(self):
        text = "One two. Three four. Five six. Seven."
        # Three tokens each with the full stop; the last has two.
        assert pieces(text, size=6, overlap=0) == ["One two. Three four. ", "Five six. Seven."]
        assert pieces(text, size=6, overlap=3) == [
            "One two. Three four. ",
            "Three four. Five six. ",
            "Five six. Seven.",
        ]
        assert pieces(text, size=6, overlap=2) == ["One two. Three four. ", "Five six. Seven."], "no whole one fits"

    def test_what_is_shared_leaves_room_for_the_next(self):
        text = "A b. C d. E f g h. I."
        assert pieces(text, size=6, overlap=5) == ["A b. C d. ", "E f g h. ", "I."]
        assert pieces(text, size=8, overlap=5) == ["A b. C d. ", "C d. E f g h. ", "E f g h. I."]

    def test_a_long_sentence_is_cut_by_tokens(self):
        assert pieces("Hi. A b c d e. Bye.", size=4, overlap=1) == ["Hi. ", "A b c d ", "d e. ", "Bye."]


class TestMarkdown:
    TEXT = """intro

# Guide

## Setup
Install it.

```sh
# not a heading
```
## Use ##
Run it.
# Empty
# Notes
"""

    def test_sections_know_the_headings_above_them(self):
        sections = markdown_sections(self.TEXT)
        assert [section.headings for section in sections] == [
            (),
            ("Guide", "Setup"),
            ("Guide", "Use"),
            ("Empty",),
            ("Notes",),
        ]
        texts = [self.TEXT[section.start : section.end] for section in sections]
        assert texts[0] == "intro\n\n"
        assert texts[1].startswith("# Guide\n\n## Setup") and "# not a heading" in texts[1]
        assert texts[2:] == ["## Use ##\nRun it.\n", "# Empty\n", "# Notes\n"]

    def test_a_long_section_is_cut_and_keeps_its_headings(self):
        text = "# A\n" + "One two three. " * 6 + "\n# B\nFour."
        chunks = Chunking(by="markdown", size=10, overlap=0)(text)
        assert [chunk.headings for chunk in chunks] == [("A",)] * 3 + [("B",)]

    def test_without_headings_it_is_one_section(self):
        assert markdown_sections("just text") == [Chunk(0, 9)]


TEXTS = st.text(st.sampled_from("ab .!?#\n`日。 "), max_size=120)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["tokens", "sentences", "markdown"]), st.integers(1, 8), st.integers(0, 7))
def test_of_any_text_nothing_is_lost_and_no_piece_is_too_long(text, by, size, overlap):
    how = Chunking(by=by, size=size, overlap=min(overlap, size - 1))
    chunks = how(text)
    assert chunks[0].start == 0 and chunks[-1].end == len(text)
    for one, other in pairwise(chunks):
        assert one.start < other.start <= one.end < other.end
        assert len(words(text[other.start : one.end])) <= how.shared
    assert all(len(words(text[chunk.start : chunk.end])) <= size for chunk in chunks)
    document = Document("d", text, "t", {"x": 1})
    assert assemble(chunk_document(document, how)) == document


class TestDocuments:
    DOCUMENT = Document("guide", TestMarkdown.TEXT, "Guide", {"lang": "en"})

    def test_a_chunk_knows_its_parent_and_its_place(self):
        chunks = chunk_document(self.DOCUMENT, Chunking(by="markdown"))
        setup = chunks[1]
        assert (setup.doc_id, setup.title) == ("guide#1", "Guide > Setup")
        place = setup.metadata["chunk"]
        assert self.DOCUMENT.text[place["start"] : place["end"]] == setup.text
        assert setup.metadata["lang"] == "en" and setup.metadata["parent_id"] == "guide"
        assert is_chunk(setup.metadata) and not is_chunk(self.DOCUMENT.metadata)
        assert siblings(setup.metadata) == [chunk.doc_id for chunk in chunks]

    def test_only_a_complete_document_is_reassembled(self):
        chunks = chunk_document(self.DOCUMENT, Chunking(by="markdown"))
        for wrong in (chunks[:-1], chunks[1:], chunks[::-1], [*chunks[:2], chunks[1], *chunks[3:]]):
            with pytest.raises(InputError, match="'guide' cannot be reassembled"):
                assemble(wrong)

    def test_reserved_fields_are_not_overwritten(self):
        with pytest.raises(InputError, match="'a' has a field 'chunk'"):
            chunk_document(Document("a", "b", metadata={"chunk": 1}), Chunking())

    def test_a_corpus_in_chunks(self, tmp_path):
        rows = [{"_id": f"d{at}", "text": "One two. Three four. Five."} for at in range(3)]
        path = tmp_path / "corpus.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {"_id": "bad"}]), encoding="utf-8")
        corpus = read_corpus(path, on_error="skip")
        chunked = ChunkedCorpus(corpus, Chunking(size=3, overlap=0))
        assert [document.doc_id for document in chunked] == [
            f"d{at}#{number}" for at in range(3) for number in range(3)
        ]
        assert chunked.skipped == 1 and chunked.description == corpus.description
        assert chunked.fingerprint() == corpus.fingerprint() and chunked.reading() != corpus.reading()
        assert chunked.reading() != ChunkedCorpus(corpus, Chunking(size=4)).reading()
        json.dumps(chunked.reading())
        with pytest.raises(InputError, match="'error' or 'first'"):
            ChunkedCorpus(read_corpus(path, on_duplicate="last"), Chunking())
        for other in ((document for document in corpus), [Document("1", "a")], "c.jsonl", None):
            with pytest.raises(InputError, match="as read_corpus returns it"):
                ChunkedCorpus(other, Chunking())


def test_an_eighth_is_shared_by_default():
    assert Chunking(size=64).as_dict()["overlap"] == 8


def test_invalid_settings_are_refused():
    for wrong in ({"size": 0}, {"size": 4, "overlap": 4}, {"overlap": -1}):
        with pytest.raises(InputError, match="must be at least"):
            Chunking(**wrong)
    with pytest.raises(InputError, match="split by tokens, sentences, markdown, pages, not by 'chapters'"):
        Chunking(by="chapters")
