"""The query syntax `simple`: phrases, requirements, exclusions, fields, prefixes, fuzzy words and boosts.

Parsed once into a small tree, which the text index translates; every other index gets the words alone.
"""

from indexing.query_syntax.parse import MOST_CLAUSES, QUERY_SYNTAXES, QuerySyntax, check_syntax, parse_query
from indexing.query_syntax.synonyms import Synonyms
from indexing.query_syntax.tree import Clause, Group, Leaf, Node, SyntaxQuery, weighted_terms

__all__ = [
    "MOST_CLAUSES",
    "QUERY_SYNTAXES",
    "Clause",
    "Group",
    "Leaf",
    "Node",
    "QuerySyntax",
    "Synonyms",
    "SyntaxQuery",
    "check_syntax",
    "parse_query",
    "weighted_terms",
]
