"""SearchBody: the JSON of a search request, and what the pipeline makes of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from indexing.errors import InputError
from indexing.plurals import counted
from indexing.query_syntax import QuerySyntax
from pipelines.search.boosts import Boosts
from pipelines.search.facets import Facets
from pipelines.search.refine import Refine
from pipelines.search.tenants import check_tenant
from pipelines.service.config import Limits
from retrieve.reranking.budget import Budget

NO_RERANKER = "none"

SHOWN_ONLY = ("query", "offset", "highlight", "snippet", "text")
"""Fields that do not change what is found; searches that agree in all others are answered in one batch."""


@dataclass(frozen=True, slots=True)
class BudgetBody:
    """Limits of the reranker for this query; see `Budget`.

    Parameters
    ----------
    max_pairs
        Pairs of query and passage that it reads at most.
    max_ms
        Milliseconds that it takes at most.
    early_exit
        Stop when no unread candidate is expected among the best, with a margin of so many standard deviations.
    """

    max_pairs: int | None = field(default=None, metadata={"min": 1})
    max_ms: float | None = field(default=None, metadata={"above": 0})
    early_exit: float | None = field(default=None, metadata={"above": 0})


@dataclass(frozen=True, slots=True)
class SearchBody:
    """One search.

    Parameters
    ----------
    query
        The query, or several phrasings of it: all are searched and their rankings fused.
    k, offset
        Number of hits, and how many better ones to leave out. Pages are those of `SearchPipeline.search`: the first has
        offset 0.
    filter
        Only documents that match: an object over the collection's declared fields.
    tenant
        Only documents of this tenant, or of these, by the collection's configured field of tenants; by default those of
        the tenants that the API key is bound to.
    legs
        Search these legs only.
    fusion
        A method, as ``rrf``, or its configuration.
    depth
        Number of hits that each leg gives to the fusion.
    reranker
        One of the collection's rerankers, or ``none``; by default as configured.
    candidates
        Number of hits that the reranker may read.
    budget
        Limits of the reranker.
    explain
        Say why each hit has its rank.
    highlight
        Add the places of the query's words in each hit's text.
    snippet
        Add the part of each text, of so many characters, with the most words of the query.
    text
        Include the texts of the documents.
    threshold, collapse, group_by, mmr, pool
        See `Refine`.
    parents
        In a collection of chunks, return their documents; by default true for such a collection.
    query_syntax
        ``plain``, in which no character is an operator, or ``simple`` (docs/queries.md); by default as configured.
    boosts
        Objects with the fields of `Boost`: each adds a stated part to the scores.
    facets, facets_over
        Declared fields whose values are counted: over the first ``hits``, or over every ``match``.
    """

    query: str | tuple[str, ...] = field(metadata={"is": "the text to search for"})
    k: int = field(default=10, metadata={"min": 1})
    offset: int | None = field(default=None, metadata={"min": 0})
    filter: Any = None
    legs: tuple[str, ...] | None = None
    fusion: str | Mapping[str, Any] | None = None
    depth: int | None = field(default=None, metadata={"min": 1})
    reranker: str | None = None
    candidates: int | None = field(default=None, metadata={"min": 1})
    budget: BudgetBody | None = None
    explain: bool = False
    highlight: bool = False
    snippet: int | None = field(default=None, metadata={"min": 20})
    text: bool = True
    threshold: float | None = None
    collapse: float | None = field(default=None, metadata={"above": 0})
    group_by: str | None = None
    mmr: float | None = field(default=None, metadata={"min": 0})
    pool: int | None = field(default=None, metadata={"min": 1})
    parents: bool | None = None
    query_syntax: QuerySyntax | None = None
    boosts: Any = None
    facets: tuple[str, ...] | None = None
    facets_over: Literal["hits", "match"] = "hits"
    tenant: str | tuple[str, ...] | None = None

    @property
    def queries(self) -> tuple[str, ...]:
        """The phrasings of the query."""
        return (self.query,) if isinstance(self.query, str) else self.query

    @property
    def wanted(self) -> int:
        """Number of best hits of which a page is cut."""
        return (self.offset or 0) + self.k

    def check(self, limits: Limits) -> None:
        """Raise an `InputError` for a request beyond the limits of the service."""
        if not self.queries or not all(query.strip() for query in self.queries):
            raise InputError("query is empty: write what to search for")
        if len(self.queries) > limits.phrasings:
            raise InputError(f"query has {len(self.queries)} phrasings: at most {limits.phrasings} are searched")
        longest = max(map(len, self.queries))
        if longest > limits.query_chars:
            raise InputError(f"query has {counted(longest, 'character')}: at most {limits.query_chars:,} are searched")
        if self.wanted > limits.hits:
            raise InputError(f"offset + k is {self.wanted}: at most {counted(limits.hits, 'hit')} can be reached")
        for name in ("candidates", "pool", "depth"):
            value = getattr(self, name)
            if value is not None and value > limits.candidates:
                raise InputError(f"{name} is {value}: at most {limits.candidates} are read")
        if self.legs is not None and (not self.legs or len(set(self.legs)) < len(self.legs)):
            raise InputError("legs must name different legs; leave it out to search all")
        if self.filter is not None and not isinstance(self.filter, Mapping):
            raise InputError('filter must be an object over declared fields, as in {"year": {"gte": 2020}}')
        check_tenant(self.tenant)
        self.refine()
        self.counted()
        Boosts.of(self.boosts)

    def counted(self) -> Facets | None:
        """Return the facets to count; None when none were asked for."""
        return None if not self.facets else Facets(self.facets, over=self.facets_over)

    def refine(self) -> Refine | None:
        """Return how the hits to show are chosen; None when nothing was asked."""
        steps = {name: getattr(self, name) for name in ("threshold", "collapse", "group_by", "mmr")}
        if all(value is None for value in steps.values()):
            return None
        # The offset plays no part: diversity orders one pool for all pages.
        return Refine(**steps, pool=self.pool or max(50, self.k))

    def limits(self) -> Budget | None:
        """Return the reranker's budget; None for the configured one."""
        if self.budget is None:
            return None
        return Budget(self.budget.max_pairs, self.budget.max_ms, self.budget.early_exit)

    def key(self) -> str:
        """Return text that is equal for searches that can be answered together."""
        values = {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.name not in SHOWN_ONLY and getattr(self, entry.name) != entry.default
        }
        values |= {"wanted": self.wanted, "paged": self.offset is not None}
        values.pop("k", None)
        return json.dumps(values, sort_keys=True, default=repr)
