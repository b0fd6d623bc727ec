"""Words of a query in a text, found with an index's analyzer."""

from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.matched_words import LONGEST_TEXT, find_query_words


def test_words_are_found_in_the_first_million_characters():
    """A document of 100 MB among the hits took half a minute and 4 GB."""
    text = "fox " * (2 * LONGEST_TEXT // 4)

    spans = find_query_words("fox", [text], lambda words: [word.casefold() for word in words])[0]

    assert len(spans) == LONGEST_TEXT // 4
    assert spans[-1][1] <= LONGEST_TEXT


def test_characters_beyond_the_basic_plane_reach_the_analyzer(tmp_path):
    """Java got the lower half of each such character, which is another one."""
    words = ["\U0001d538\U0001d539", "\U00020041", "fox"]

    with Bm25Index.create(tmp_path / "index") as index:
        forms = index.analyze(words)

    assert all(word in form for word, form in zip(words, forms, strict=True))
