"""Translate the trees of parsed queries into Lucene queries, and search with them.

A tree becomes the XML of Lucene's ``CoreParser``, which builds the query inside Java: a batch is one call. What XML has
no element for (phrases, prefixes, fuzzy words) is an escaped piece of Lucene's classic syntax inside it. No character
of a user's text is an operator there.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape as xml_escape

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.filters.tree import Filter
from indexing.hits import Hits
from indexing.indexes.lucene.java_functions import (
    SEPARATOR,
    bind,
    compose,
    constructor,
    each_part,
    method,
    part_text,
)
from indexing.indexes.lucene.jvm import apply, java_calls, java_class
from indexing.indexes.lucene.search import CONTENTS, LuceneSearch, escape
from indexing.query_syntax import Group, Leaf, Node, SyntaxQuery
from indexing.query_syntax.tree import leaves

TOKENS = "\x02"
"""Separates the words of a line of `analysis`."""
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot contain."""
_EVERYTHING = "<MatchAllDocsQuery/>"
_NOTHING = "<BooleanQuery/>"
_OCCURS = {"must": "must", "should": "should", "never": "mustNot", "filter": "filter"}

FUZZY_PREFIX = 1
"""Characters at the beginning of a fuzzy word that must be equal."""


class StructuredSearch:
    """Search for parsed queries in one snapshot of a BM25 index; safe for any number of threads.

    Parameters
    ----------
    search
        The snapshot.
    similarity
        Lucene's ``Similarity``.
    analyzer
        Lucene's ``Analyzer`` of the index.
    lower
        True if the analyzer changes words to lower case.
    positions
        True if the index stores the positions of words.
    weights
        The weight of each Lucene field.
    titles
        The Lucene fields that ``title:`` and ``text:`` stand for; none in an index with a single field.
    """

    def __init__(
        self,
        search: LuceneSearch,
        similarity: Any,
        analyzer: Any,
        *,
        lower: bool,
        positions: bool,
        weights: Mapping[str, float],
        titles: Mapping[str, str],
    ) -> None:
        self.over = search
        self._lower, self._positions, self._weights, self._titles = lower, positions, weights, titles
        with java_calls(search.path):
            self.parse = _xml_parser(analyzer)
            self._analyze = analysis(analyzer)
            self._search = LuceneSearch(search.path, search.reader, similarity, self.parse, search.fields)

    def search(self, queries: Sequence[SyntaxQuery], k: int, filter: Filter | None) -> Hits:
        """Return the `k` best documents of each query, as `LuceneSearch.search`."""
        return self._search.search(self.compile(queries), k, filter)

    def score(self, queries: Sequence[SyntaxQuery], doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates, as `LuceneSearch.score`; 0 for one that does not match."""
        return self._search.score(self.compile(queries), doc_ids)

    def constrained(self, query: SyntaxQuery, limit: int, filter: Filter | None) -> list[str] | None:
        """Return the ids of the documents that the query's constraint keeps; None for more than `limit`."""
        found = self._search.search([self._constraint(query)], limit + 1, filter).doc_ids
        return found if len(found) <= limit else None

    def meets(self, query: SyntaxQuery, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which documents the query's constraint keeps, bool; False for an unknown id."""
        return self._search.score([self._constraint(query)], [doc_ids], unknown=0.0) > 0

    def compile(self, queries: Sequence[SyntaxQuery]) -> list[str]:
        """Return the XML of each query."""
        return [xml or _NOTHING for xml in self._compiled([query.root for query in queries])]

    def _constraint(self, query: SyntaxQuery) -> str:
        constraint = query.constraint
        xml = None if constraint is None else self._compiled([constraint])[0]
        return f"<ConstantScoreQuery>{xml or _EVERYTHING}</ConstantScoreQuery>"

    def _compiled(self, roots: Sequence[Group]) -> list[str | None]:
        texts = list(dict.fromkeys(leaf.text for root in roots for leaf in leaves(root) if leaf.kind != "term"))
        lines = apply(self._analyze, SEPARATOR.join(map(part_text, texts))).split("\n") if texts else []
        tokens = {
            text: [token for token in line.split(TOKENS) if token] for text, line in zip(texts, lines, strict=True)
        }
        compiler = _Compiler(tokens, self._fields, self._lower, self._positions, str(self.over.path))
        return [compiler.node(root, "should") for root in roots]

    def _fields(self, leaf: Leaf) -> dict[str, float]:
        """Return the weights of the Lucene fields in which a leaf is searched."""
        if leaf.field is None:
            return dict(self._weights)
        if leaf.field not in self._titles:
            raise InputError(
                f"{leaf.field}: is not searched by itself in {self.over.path}, where title and text are one field: "
                "index the two apart (--bm25-fields), or leave it out"
            )
        name = self._titles[leaf.field]
        return {name: self._weights[name]}


class _Compiler:
    """Writes nodes as XML; None for a node that consists of stopwords, which is left out.

    Parameters
    ----------
    tokens
        The analyzed words of each leaf's text.
    fields
        The weights of the fields in which a leaf is searched.
    lower, positions
        As for `StructuredSearch`.
    where
        The index, for messages.
    """

    def __init__(
        self,
        tokens: Mapping[str, list[str]],
        fields: Callable[[Leaf], dict[str, float]],
        lower: bool,
        positions: bool,
        where: str,
    ) -> None:
        self._tokens, self._fields = tokens, fields
        self._lower, self._positions, self._where = lower, positions, where

    def node(self, node: Node, occur: str) -> str | None:
        return self._group(node) if isinstance(node, Group) else self._leaf(node, occur)

    def _group(self, group: Group) -> str | None:
        if group.best:
            best = [xml for _, part in group.clauses if (xml := self.node(part, "must")) is not None]
            return _best(best, group.boost) if best else None
        parts: list[tuple[str, str]] = [
            (occur, xml) for occur, part in group.clauses if (xml := self.node(part, occur)) is not None
        ]
        if not parts:
            return None
        optional = sum(occur == "should" for occur, _ in parts)
        if all(occur == "never" for occur, _ in parts):
            # Lucene finds nothing for exclusions alone.
            parts.append(("filter", _EVERYTHING))
        return _boolean(parts, min(group.least, optional), group.boost)

    def _leaf(self, leaf: Leaf, occur: str) -> str | None:
        fields = self._fields(leaf)
        if leaf.kind == "term":
            return _any(self._terms([leaf.text], fields, leaf.boost))
        tokens = self._tokens[leaf.text]
        if leaf.kind == "phrase" and len(tokens) > 1:
            if not self._positions:
                raise InputError(
                    f'the phrase "{leaf.text}" needs the positions of words, which {self._where} does not store: '
                    "build the leg anew with them (retrieve reindex DIR --leg bm25 --bm25-positions)"
                )
            text = re.sub(r'(["\\])', r"\\\1", leaf.text)
            return _any(_user(name, f'"{text}"~{leaf.reach}', weight * leaf.boost) for name, weight in fields.items())
        if leaf.kind == "prefix" and len(tokens) <= 1 and leaf.text.isalnum():
            prefix = leaf.text.lower() if self._lower else leaf.text
            beginning = [_user(name, f"{escape(prefix)}*", weight * leaf.boost) for name, weight in fields.items()]
            return _any([*beginning, *self._terms(tokens, fields, leaf.boost)])
        if leaf.kind == "fuzzy" and len(tokens) == 1 and len(tokens[0]) > FUZZY_PREFIX + 1:
            written = f"{escape(tokens[0])}~{leaf.reach}"
            return _any(_user(name, written, weight * leaf.boost) for name, weight in fields.items())
        if not tokens:
            return None
        each = [_any(self._terms([token], fields, leaf.boost)) for token in tokens]
        return each[0] if len(each) == 1 else _boolean([("should" if occur == "should" else "must", x) for x in each])

    def _terms(self, tokens: Sequence[str], fields: Mapping[str, float], boost: float) -> list[str]:
        return [
            f'<TermQuery fieldName="{name}" boost="{weight * boost!r}">{_text(token)}</TermQuery>'
            for token in tokens
            for name, weight in fields.items()
        ]


def _best(parts: Sequence[str], boost: float) -> str:
    return f'<DisjunctionMaxQuery tieBreaker="0.0" boost="{boost!r}">{"".join(parts)}</DisjunctionMaxQuery>'


def _any(parts: Iterable[str]) -> str:
    listed = list(parts)
    return listed[0] if len(listed) == 1 else _boolean([("should", part) for part in listed])


def _boolean(parts: Sequence[tuple[str, str]], least: int = 0, boost: float = 1.0) -> str:
    inside = "".join(f'<Clause occurs="{_OCCURS[occur]}">{xml}</Clause>' for occur, xml in parts)
    return f'<BooleanQuery minimumNumberShouldMatch="{least}" boost="{boost!r}">{inside}</BooleanQuery>'


def _user(field: str, written: str, boost: float) -> str:
    return f'<UserQuery boost="{boost!r}">{field}:{_text(written)}</UserQuery>'


def _text(text: str) -> str:
    return xml_escape(_ILLEGAL.sub(" ", text))


def _xml_parser(analyzer: Any) -> Any:
    """Return the handle from XML to a Lucene ``Query``."""
    classic = java_class("org.apache.lucene.queryparser.classic.QueryParser")(CONTENTS, analyzer)
    classic.setFuzzyPrefixLength(FUZZY_PREFIX)
    classic.setSplitOnWhitespace(True)
    core = java_class("org.apache.lucene.queryparser.xml.CoreParser")(analyzer, classic)
    utf8 = java_class("java.nio.charset.StandardCharsets").UTF_8
    encode = bind(method("java/lang/String", "getBytes", "(Ljava/nio/charset/Charset;)[B"), 1, utf8)
    parse = method(
        "org/apache/lucene/queryparser/xml/CoreParser",
        "parse",
        "(Ljava/io/InputStream;)Lorg/apache/lucene/search/Query;",
    )
    return compose(encode, constructor("java/io/ByteArrayInputStream", "([B)V"), bind(parse, 0, core))


def analysis(analyzer: Any) -> Any:
    """Return the Java function from texts to a line of analyzed words for each."""
    analyze = method(
        "io/anserini/analysis/AnalyzerUtils",
        "analyze",
        "(Lorg/apache/lucene/analysis/Analyzer;Ljava/lang/String;)Ljava/util/List;",
        static=True,
    )
    join = method(
        "java/lang/String", "join", "(Ljava/lang/CharSequence;Ljava/lang/Iterable;)Ljava/lang/String;", static=True
    )
    return each_part(bind(analyze, 0, analyzer), bind(join, 0, TOKENS))
