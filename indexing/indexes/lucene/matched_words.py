"""Find where a query's words occur in a text, using the index's Lucene analyzer."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.lucene.java_functions import SEPARATOR, bind, each_part, method
from indexing.indexes.lucene.jvm import java_calls
from indexing.indexes.lucene.search import CONTENTS

Analyze = Callable[[Sequence[str]], Sequence[str]]
"""Function from words to their analyzed forms; two words match if their forms are equal and not empty."""

LONGEST_TEXT = 1_000_000
"""Characters of a text, from its beginning, in which words are found."""

# Chinese and Japanese characters count as words, as in the CJK analyzer.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[\w])+(?:['’]\w+)?")


def analyze_words(path: Path, parse: Any, words: Sequence[str]) -> list[str]:
    """Return each word in the form that an index's analyzer produces, e.g. stemmed; empty for a stopword.

    All words are analyzed in one call into Java, through `parse`, the handle of the Java function from text to
    ``Query`` of the index at `path`.
    """
    import jnius

    if not words:
        return []
    to_text = method("org.apache.lucene.search.Query", "toString", "(Ljava/lang/String;)Ljava/lang/String;")
    with java_calls(path):
        function = jnius.cast("java.util.function.Function", each_part(parse, bind(to_text, 1, CONTENTS)))
        lines = function.apply(SEPARATOR.join(words))
        text: str = lines if isinstance(lines, str) else lines.toString()
    return text.split("\n")


def find_query_words(query: str, texts: Sequence[str], analyze: Analyze) -> list[list[tuple[int, int]]]:
    """Find the occurrences of the query's words in each text.

    Parameters
    ----------
    query, texts
        Any strings.
    analyze
        Analysis of words, e.g. `Bm25Index.analyze`. Each distinct word is analyzed once.

    Returns
    -------
    list of [(start, end), …]
        For each text the spans of matching words in characters, ascending, of those in the first million characters.
    """
    words = [[(match.group(), match.span()) for match in _WORD.finditer(text, 0, LONGEST_TEXT)] for text in texts]
    query_words = _WORD.findall(query)
    distinct = list(dict.fromkeys([*query_words, *(word for of_text in words for word, _ in of_text)]))
    forms = dict(zip(distinct, analyze(distinct), strict=True))
    query_forms = {forms[word] for word in query_words} - {""}
    return [[span for word, span in of_text if forms[word] in query_forms] for of_text in words]
