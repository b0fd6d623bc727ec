"""EngineText: a text index that Qdrant itself analyses and scores, and the names of its analyzers."""

from dataclasses import dataclass
from typing import Any

from indexing.errors import InputError
from indexing.indexes.bm25_weights import Bm25
from indexing.inputs import texts
from indexing.query_syntax import SyntaxQuery

LANGUAGES = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
"""Languages for which Qdrant has both a list of stopwords and a Snowball stemmer, by ISO 639 code."""
PLAIN = "qdrant"
"""Analyzer of runs of letters and digits in lower case, without stopwords and stems."""
ENGINE_ANALYZERS = {PLAIN: "", **{f"{PLAIN}-{code}": language for code, language in LANGUAGES.items()}}
"""Name of each of Qdrant's analyzers, with its language; "" for none."""

TEXTS = "texts"
"""Payload field of the texts of a point, by the name that a vector would have."""


def is_engine_analyzer(name: object) -> bool:
    """Return whether an analyzer is Qdrant's: its BM25 then scores the texts, by a `TextQuery`."""
    return isinstance(name, str) and (name == PLAIN or name.startswith(f"{PLAIN}-"))


@dataclass(frozen=True, slots=True)
class EngineText:
    """Parameters of a text index that Qdrant scores by BM25.

    Parameters
    ----------
    analyzer
        A key of `ENGINE_ANALYZERS`.
    k1, b
        As in `Bm25`.
    """

    analyzer: str = PLAIN
    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        if self.analyzer not in ENGINE_ANALYZERS:
            known = ", ".join(ENGINE_ANALYZERS)
            raise InputError(f"unknown analyzer {self.analyzer!r} of Qdrant: choose one of {known}")
        Bm25(self.k1, self.b)

    @property
    def language(self) -> str:
        """The language of stopwords and stemmer in English; "" for none."""
        return ENGINE_ANALYZERS[self.analyzer]

    @property
    def factor(self) -> float:
        """How many times as high Qdrant's scores are as those of `Bm25`."""
        return self.k1 + 1

    @property
    def remark(self) -> str:
        """Description of how these scores differ from those of our own BM25."""
        stems = f"{self.language.capitalize()} stopwords and stems" if self.language else "no stopwords, no stems"
        return (
            f"analysed and scored by Qdrant (TextQuery): runs of letters and digits in lower case, {stems}; a word "
            "that a query repeats counts once"
        )


@dataclass(frozen=True, slots=True)
class Text:
    """A text in the place of a vector: of a document, or a query."""

    text: str

    def __bool__(self) -> bool:
        return bool(self.text.strip())

    @classmethod
    def of(cls, text: str) -> "Text":
        """Return a text that can be sent: half of a surrogate pair becomes a question mark."""
        return cls(text.encode("utf-8", "replace").decode())


def payload_field(name: str) -> str:
    """Return the path of the payload field with the texts of a name."""
    return f"{TEXTS}.{name}"


def plain_texts(queries: Any) -> list[str]:
    """Return the texts of queries; raise `InputError` for one with operators."""
    checked = texts(queries, "queries")
    for query in checked:
        if isinstance(query, SyntaxQuery):
            raise InputError(
                f"{query.reading!r} has operators, which BM25 in Qdrant cannot search: write plain words "
                "(query_syntax='plain'), or keep the leg in Lucene"
            )
    return checked
