"""Synonyms of queries: a file of words that mean the same, searched together with the words that a user wrote.

::

    # Any of these stands for all of them.
    car, automobile, motor vehicle
    # One way: a query with the left side also finds the right side.
    nyc => new york city
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.plurals import counted
from indexing.query_syntax.tree import Clause, Group, Leaf, Node, SyntaxQuery

MOST_RULES = 100_000
_WORD = re.compile(r"\w+(?:['’]\w+)?")


@dataclass(frozen=True, slots=True)
class Synonyms:
    """Alternatives of words and of sequences of words.

    Parameters
    ----------
    alternatives
        For each key, its words in lower case, the texts that are searched with it.
    """

    alternatives: Mapping[tuple[str, ...], tuple[str, ...]]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of synonyms.

        Raises
        ------
        InputError
            Naming the file and the line.
        """
        path = local_path(path, "path")
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the synonyms {path} cannot be read: {error}") from None
        found: dict[tuple[str, ...], dict[str, None]] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            left, arrow, right = line.partition("=>")
            keys = _listed(left, path, number)
            values = _listed(right, path, number) if arrow else keys
            if not arrow and len(keys) < 2:
                raise InputError(f"{path}:{number}: a line needs two words that mean the same, as in: car, automobile")
            for key in keys:
                found.setdefault(_key(key), {}).update(dict.fromkeys(value for value in values if value != key))
        if len(found) > MOST_RULES:
            raise InputError(f"{path} has {counted(len(found), 'word')} with synonyms: at most {MOST_RULES:,} are read")
        return cls({key: tuple(values) for key, values in found.items()})

    def expand(self, query: str) -> str:
        """Return the query with the alternatives of its words, in the text index only; unchanged if it has none.

        In a query with operators single words have alternatives, also required and excluded ones; in plain words
        sequences of words have them too, the longest that begins at a word.
        """
        if isinstance(query, SyntaxQuery):
            root = self._expanded(query.root)
            assert isinstance(root, Group)
            return query if root == query.root else SyntaxQuery(root, str(query))
        clauses = self._clauses(query)
        if all(isinstance(clause.node, Leaf) for clause in clauses):
            return query
        return SyntaxQuery(Group(tuple(clauses)), query)

    def _clauses(self, query: str) -> list[Clause]:
        words = [(match.group().lower(), *match.span()) for match in _WORD.finditer(query)]
        longest = max(map(len, self.alternatives), default=0)
        clauses: list[Clause] = []
        reached = at = 0
        while at < len(words):
            for size in range(min(longest, len(words) - at), 0, -1):
                key = tuple(word for word, _, _ in words[at : at + size])
                if key in self.alternatives:
                    start, end = words[at][1], words[at + size - 1][2]
                    if rest := query[reached:start].strip():
                        clauses.append(Clause("should", Leaf(rest)))
                    clauses.append(Clause("should", self._alternatives(Leaf(query[start:end]), key)))
                    reached, at = end, at + size
                    break
            else:
                at += 1
        if rest := query[reached:].strip():
            clauses.append(Clause("should", Leaf(rest)))
        return clauses

    def _expanded(self, node: Node) -> Node:
        if isinstance(node, Group):
            return replace(node, clauses=tuple(Clause(occur, self._expanded(part)) for occur, part in node.clauses))
        key = _key(node.text)
        if node.kind != "word" or key not in self.alternatives:
            return node
        return self._alternatives(node, key)

    def _alternatives(self, leaf: Leaf, key: tuple[str, ...]) -> Group:
        """Return the group of a word or a sequence and its alternatives, of which the best one counts."""
        texts = [leaf.text, *self.alternatives[key]]
        return Group(
            tuple(Clause("should", _whole(replace(leaf, text=text, boost=1.0))) for text in texts),
            boost=leaf.boost,
            best=True,
        )


def _whole(leaf: Leaf) -> Node:
    """Return a leaf, or for several words the group of all of them."""
    words = leaf.text.split()
    if len(words) < 2:
        return leaf
    return Group(tuple(Clause("must", replace(leaf, text=word)) for word in words))


def _key(text: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(text))


def _listed(text: str, path: Path, number: int) -> Sequence[str]:
    listed = [" ".join(part.split()) for part in text.split(",")]
    if not all(_key(part) for part in listed):
        raise InputError(f"{path}:{number}: every part must have a word, as in: car, automobile, or: nyc => new york")
    return listed
