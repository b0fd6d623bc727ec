"""The tree of a parsed query, and `SyntaxQuery`: the words of a query together with its tree."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["word", "phrase", "prefix", "fuzzy", "term"]
"""How a leaf matches. A ``term`` is a word as the index stores it; no query that a user writes has one."""
Occur: TypeAlias = Literal["should", "must", "never"]

_SIGNS = {"should": "", "must": "+", "never": "-"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A word, a phrase, the beginning of a word, or a word with typing errors.

    Parameters
    ----------
    text
        The word, or the words of the phrase.
    kind
        How it matches.
    field
        ``title`` or ``text``; None for both.
    reach
        Positions by which the words of a phrase may be displaced, or number of edits of a fuzzy word.
    boost
        Factor of its score.
    """

    text: str
    kind: Kind = "word"
    field: str | None = None
    reach: int = 0
    boost: float = 1.0

    def __str__(self) -> str:
        text = re.sub(r'(["\\])', r"\\\1", self.text) if self.kind == "phrase" else _escaped(self.text)
        written = {
            "word": text,
            "phrase": f'"{text}"' + (f"~{self.reach}" if self.reach else ""),
            "prefix": f"{text}*",
            "fuzzy": f"{text}~{self.reach}",
            "term": text,
        }[self.kind]
        return f"{self.field}:{written}{_boost(self.boost)}" if self.field else f"{written}{_boost(self.boost)}"


class Clause(NamedTuple):
    """A part of a group, and whether documents should, must or must never match it."""

    occur: Occur
    node: "Node"


@dataclass(frozen=True, slots=True)
class Group:
    """Clauses that are matched together.

    A document matches when it matches every clause that it must, none that it must never, and of the others at least
    `least`: one, if there is nothing that it must match.

    Parameters
    ----------
    clauses
        The clauses, in their order.
    least
        Number of optional clauses that must match; 0 for the rule above.
    boost
        Factor of its score.
    best
        True if the score is that of its best clause instead of their sum; all clauses are optional then.
    """

    clauses: tuple[Clause, ...]
    least: int = 0
    boost: float = 1.0
    best: bool = False

    def of(self, occur: Occur) -> "list[Node]":
        """Return the parts of one kind of clause."""
        return [clause.node for clause in self.clauses if clause.occur == occur]

    def __str__(self) -> str:
        written = " ".join(f"{_SIGNS[occur]}{node}" for occur, node in self.clauses)
        return f"({written}){f'~{self.least}' if self.least else ''}{_boost(self.boost)}"


Node: TypeAlias = Leaf | Group


class SyntaxQuery(str):
    """The words of a query without its operators, with the tree of its operators.

    Encoders, rerankers and highlighting read it as the text that it is; an index of texts reads the tree.

    Attributes
    ----------
    root
        The tree.
    allowed
        The documents that its requirements and exclusions leave, as the search that asks determines them
        (`retrieve.restriction.Allowed`); None for a query without any.
    """

    root: Group
    allowed: Any = None

    def __new__(cls, root: Group, text: str | None = None) -> "SyntaxQuery":
        """Make it of its tree; its text is that of its words, unless another is given."""
        words = (leaf.text for leaf in leaves(root, searched=True))
        query = super().__new__(cls, " ".join(words) if text is None else text)
        query.root = root
        return query

    @property
    def constraint(self) -> Group | None:
        """The clauses that every document must match, or must never match; None if there are none."""
        kept = tuple(clause for clause in self.root.clauses if clause.occur != "should")
        return Group(kept) if kept else None

    @property
    def reading(self) -> str:
        """The query as it was read, in the syntax."""
        return str(Group(self.root.clauses))[1:-1]


def weighted_terms(query: str, weights: Mapping[str, float]) -> SyntaxQuery:
    """Return a query of words as the index stores them, each with its weight; its text is that of `query`."""
    root = Group(tuple(Clause("should", Leaf(term, "term", boost=weight)) for term, weight in weights.items()))
    return SyntaxQuery(root, query)


def leaves(node: Node, *, searched: bool = False) -> Iterator[Leaf]:
    """Yield the leaves of a tree in their order; with `searched`, without those of exclusions."""
    if isinstance(node, Leaf):
        yield node
        return
    for occur, part in node.clauses:
        if not (searched and occur == "never"):
            yield from leaves(part, searched=searched)


def _escaped(word: str) -> str:
    """Write a word so that none of its characters is an operator."""
    return re.sub(r'^[-+]|(?<=^title):|(?<=^text):|[\s"()\\*~^]', r"\\\g<0>", word)


def _boost(boost: float) -> str:
    return "" if boost == 1 else f"^{boost:g}"
