"""TextAnalysis: Lucene's analyzers on their own, for indexes of words that Lucene does not keep."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.lucene.analyzers import check_analyzer, make_analyzer
from indexing.indexes.lucene.java_functions import SEPARATOR, part_text
from indexing.indexes.lucene.jvm import apply, java_calls
from indexing.indexes.lucene.structured import TOKENS, analysis

_TEXTS = 512
"""Texts of one call into Java, which cannot be interrupted."""


class TextAnalysis:
    """Texts to words as a BM25 index in Lucene stores them; safe for any number of threads.

    Parameters
    ----------
    analyzer
        As for `Bm25Index.create`.
    where
        The index that needs the words, named in errors.
    """

    def __init__(self, analyzer: str, where: Path) -> None:
        self.analyzer, self._where = check_analyzer(analyzer), where
        self._function: Any = None
        self._making = threading.Lock()

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text, in their order."""
        with self._making:
            if self._function is None:
                with java_calls(self._where):
                    self._function = analysis(make_analyzer(self.analyzer))
        words: list[list[str]] = []
        for start in range(0, len(texts), _TEXTS):
            # An empty line would not count as a text of its own.
            part = SEPARATOR.join(part_text(text) or " " for text in texts[start : start + _TEXTS])
            words += [[word for word in line.split(TOKENS) if word] for line in apply(self._function, part).split("\n")]
        return words
