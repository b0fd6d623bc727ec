"""Which words of a text a query's words are the same as, as Lucene's analysis of an index has it."""

import re
from collections.abc import Callable, Sequence

from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.java_functions import SEPARATOR, as_function, bind, compose, for_each_part, method
from indexing.indexes.lucene.jvm import java_calls, java_class
from indexing.indexes.lucene.search import CONTENTS

Analyze = Callable[[Sequence[str]], Sequence[str]]
"""Gives each word in the form that makes two words the same; empty for one that does not count."""

# Chinese and Japanese are analyzed by characters.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[\w])+(?:['’]\w+)?")


def analyze_words(index: Bm25Index, words: Sequence[str]) -> list[str]:
    """Give each word as the index's analyzer makes of it (stemmed, say); empty for a stopword.

    One call into Java for all of them.
    """
    import jnius

    if not words:
        return []
    to_text = method("org.apache.lucene.search.Query", "toString", "(Ljava/lang/String;)Ljava/lang/String;")
    with java_calls(index.path):
        each = for_each_part(as_function(compose(index._parse, bind(to_text, 1, CONTENTS))))
        function = jnius.cast("java.util.function.Function", each)
        lines = function.apply(java_class("java.lang.String")(SEPARATOR.join(words)))
        text: str = lines if isinstance(lines, str) else lines.toString()
    return text.split("\n")


def find_query_words(query: str, texts: Sequence[str], analyze: Analyze) -> list[list[tuple[int, int]]]:
    """Say where words of the query stand in each text.

    Parameters
    ----------
    query, texts
        Any.
    analyze
        What makes two words the same: ``partial(analyze_words, index)``, for one. Each different word is analyzed once.

    Returns
    -------
    list of [(start, end), …]
        For each text the places in characters, ascending.
    """
    found = [[(match.group(), match.span()) for match in _WORD.finditer(text)] for text in texts]
    asked = list(dict.fromkeys(_WORD.findall(query)))
    distinct = list(dict.fromkeys([*asked, *(word for places in found for word, _ in places)]))
    forms = dict(zip(distinct, analyze(distinct), strict=True))
    wanted = {forms[word] for word in asked} - {""}
    return [[span for word, span in places if forms[word] in wanted] for places in found]
