"""Parse a query in the syntax `simple`. Every string has a reading; only its size is limited.

::

    +measles -"common cold" "herd immunity"~3 title:vaccine^2 immun* colr~ (dose booster shot)~2
"""

import re
from typing import Literal, TypeAlias, get_args

from indexing import inputs
from indexing.errors import InputError
from indexing.inputs import is_visible, shown
from indexing.plurals import counted
from indexing.query_syntax.tree import Clause, Group, Kind, Leaf, Node, Occur, SyntaxQuery, leaves

QuerySyntax: TypeAlias = Literal["plain", "simple"]
QUERY_SYNTAXES: tuple[QuerySyntax, ...] = get_args(QuerySyntax)

MOST_CLAUSES = 1024
"""Maximum number of words and groups of a query, those in phrases counted."""
MOST_LEVELS = 16
"""Maximum number of parentheses inside one another."""
SHORTEST_PREFIX = 2
"""Characters of a word from which it may be a prefix."""
SHORTEST_FUZZY = 3
"""Characters of a word from which one edit is allowed."""
TWO_EDITS = 5
"""Characters of a word from which two edits are allowed."""
MOST_SLOP = 100
MOST_BOOST = 1000.0

FIELDS = ("title", "text")

_SPACE = re.compile(r"[\s\x00-\x20\x7f]+")
_WORD = re.compile(r'(?:\\.|[^\s\x00-\x20\x7f"()\\]|\\$)+', re.DOTALL)
_PHRASE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SUFFIX = re.compile(r"(?:~(?P<reach>\d{0,4}))?(?:\^(?P<boost>\d{1,6}(?:\.\d{1,6})?))?(?=[\s\x00-\x20\x7f\"()]|$)")
_WORD_SUFFIX = re.compile(
    r"(?P<kind>\*|~(?P<reach>\d?))?(?:\^(?P<boost>\d{1,6}(?:\.\d{1,6})?))?$",
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def check_syntax(name: object) -> QuerySyntax:
    """Return the name of a syntax; an InputError lists the known ones."""
    if name not in QUERY_SYNTAXES:
        raise InputError(f"query_syntax must be {' or '.join(map(repr, QUERY_SYNTAXES))}, not {shown(name)}")
    return name


def parse_query(text: str, name: str = "the query") -> str:
    """Return the query that a text in the syntax `simple` describes.

    Parameters
    ----------
    text
        Any string. What is no operator where it stands is read as a word, an unclosed quote is left out, and an
        unclosed parenthesis ends with the text.
    name
        What error messages call it.

    Returns
    -------
    str
        Plain words, or a `SyntaxQuery` when it has operators.

    Raises
    ------
    InputError
        For a query with nothing to search for, with more than `MOST_CLAUSES` words, or with parentheses nested more
        than `MOST_LEVELS` deep.
    """
    root = _Parser(inputs.text(text, name).encode("utf-8", "replace").decode(), name).parse()
    query = SyntaxQuery(root)
    if not is_visible(query):
        excluded = ": it has only exclusions" if any(leaves(root)) else ""
        raise InputError(f"{name} has no word to search for{excluded}: add one, as in: vaccine -measles")
    plain = all(occur == "should" and node == Leaf(getattr(node, "text", "")) for occur, node in root.clauses)
    return str(query) if plain else query


class _Parser:
    """Reads one text from left to right; each character is read a bounded number of times."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        self._at = self._words = 0
        self._closed = text.count('"') > 1

    def parse(self) -> Group:
        clauses: list[Clause] = []
        while self._at < len(self._text):
            clauses += self._clauses(0)
            # A closing parenthesis that nothing opened.
            self._at += 1
        return Group(tuple(clauses))

    def _clauses(self, level: int) -> list[Clause]:
        """Read clauses up to a closing parenthesis or the end."""
        if level > MOST_LEVELS:
            raise InputError(f"{self._name} has parentheses nested more than {MOST_LEVELS} deep: write it flatter")
        clauses: list[Clause] = []
        while self._at < len(self._text):
            if space := _SPACE.match(self._text, self._at):
                self._at = space.end()
                continue
            if self._text[self._at] == ")":
                break
            occur = self._occur()
            if (node := self._node(level)) is not None:
                clauses.append(Clause(occur, node))
        return clauses

    def _occur(self) -> Occur:
        sign = self._text[self._at]
        if sign not in "+-":
            return "should"
        while self._at < len(self._text) and self._text[self._at] in "+-":
            self._at += 1
        return "must" if sign == "+" else "never"

    def _node(self, level: int) -> Node | None:
        """Read what one clause is about; None for what has no meaning, such as a sign before a space."""
        field = next((name for name in FIELDS if self._text.startswith(f"{name}:", self._at)), None)
        if field is not None:
            following = self._text[self._at + len(field) + 1 : self._at + len(field) + 2]
            if not following or _SPACE.match(following) or following in "()":
                field = None
            else:
                self._at += len(field) + 1
        if self._text.startswith("(", self._at):
            return self._group(level)
        if self._text.startswith('"', self._at):
            return self._phrase(field)
        word = _WORD.match(self._text, self._at)
        if word is None:
            return None
        self._at = word.end()
        return self._word(word.group(), field)

    def _group(self, level: int) -> Group | None:
        self._count(1)
        self._at += 1
        clauses = self._clauses(level + 1)
        self._at += 1
        reach, boost = self._suffix()
        return Group(tuple(clauses), reach or 0, boost) if clauses else None

    def _phrase(self, field: str | None) -> Leaf | None:
        phrase = _PHRASE.match(self._text, self._at) if self._closed else None
        if phrase is None:
            # No later quote has a partner either.
            self._closed = False
            self._at += 1
            return None
        self._at = phrase.end()
        reach, boost = self._suffix()
        text = _SPACE.sub(" ", _ESCAPED.sub(r"\1", phrase.group(1))).strip()
        self._count(max(1, len(text.split())))
        if not text:
            return None
        return Leaf(text, "phrase", field, min(reach or 0, MOST_SLOP), boost)

    def _word(self, raw: str, field: str | None) -> Leaf | None:
        self._count(1)
        suffix = _WORD_SUFFIX.search(raw)
        assert suffix is not None, "the pattern matches an empty end"
        end = suffix.start()
        # A backslash before the operator makes it a character; two make a backslash.
        backslashes = len(raw[:end]) - len(raw[:end].rstrip("\\"))
        if backslashes % 2:
            suffix, end = None, len(raw)
        text = _SPACE.sub(" ", _ESCAPED.sub(r"\1", raw[:end])).strip()
        if not text:
            return None
        if suffix is None:
            return Leaf(text, field=field)
        kind, reach = _word_kind(text, suffix["kind"], suffix["reach"])
        return Leaf(text, kind, field, reach, _boost(suffix["boost"]))

    def _suffix(self) -> tuple[int | None, float]:
        """Read ``~2^1.5`` behind a phrase or a group."""
        suffix = _SUFFIX.match(self._text, self._at)
        if suffix is None:
            return None, 1.0
        self._at = suffix.end()
        return int(suffix["reach"]) if suffix["reach"] else None, _boost(suffix["boost"])

    def _count(self, words: int) -> None:
        self._words += words
        if self._words > MOST_CLAUSES:
            raise InputError(
                f"{self._name} has more than {counted(MOST_CLAUSES, 'word')}: shorten it, or search in plain words"
            )


def _word_kind(text: str, operator: str | None, edits: str | None) -> tuple[Kind, int]:
    """Return how a word matches, and its number of edits; an operator that a word is too short for has no effect."""
    if operator == "*" and len(text) >= SHORTEST_PREFIX:
        return "prefix", 0
    if operator is None or operator == "*" or len(text) < SHORTEST_FUZZY or edits == "0":
        return "word", 0
    return "fuzzy", 2 if edits and int(edits) >= 2 and len(text) >= TWO_EDITS else 1


def _boost(written: str | None) -> float:
    return 1.0 if written is None else min(float(written), MOST_BOOST)
