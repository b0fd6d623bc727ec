"""Summary of a mining job: rows, queries left out and why, limits, and candidates that may be right answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexing.plurals import counted
from pipelines.mining.filtering import Counts


@dataclass
class Shortages:
    """Queries for which sources found too few negatives.

    Parameters
    ----------
    queries
        Number of queries that lack a negative from some source.
    left_out
        Number of those that have no row because of it.
    by_source
        Number of queries by source.
    found
        For a single query: the number of negatives found by source.
    """

    queries: int = 0
    left_out: int = 0
    by_source: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Shortages") -> None:
        """Add the numbers of another block of queries."""
        self.queries, self.left_out = self.queries + other.queries, self.left_out + other.left_out
        for name, count in other.by_source.items():
            self.by_source[name] = self.by_source.get(name, 0) + count
        self.found = other.found or self.found

    def lines(self, quotas: Mapping[str, int]) -> list[str]:
        """Return a line for the summary, or none."""
        if not self.queries:
            return []
        if self.queries == 1:
            why = ", ".join(f"{name} found {self.found.get(name, 0)} of {quotas[name]}" for name in self.by_source)
        else:
            why = ", ".join(f"{name} found fewer than {quotas[name]} for {n:,}" for name, n in self.by_source.items())
        fewer = self.queries - self.left_out
        parts = [f"{counted(self.left_out, 'query')} left out"] if self.left_out else []
        parts += [f"{counted(fewer, 'query')} with fewer negatives than asked"] if fewer else []
        return [f"  {', '.join(parts)}: {why}"]


@dataclass
class MiningSummary:
    """Result of a mining job.

    Parameters
    ----------
    path
        The output folder.
    queries, rows
        Number of queries with a relevant document, and of rows.
    suspects, suspect_queries
        Number of candidates that score above a positive, and of the queries that have any.
    resumed
        Number of queries that an earlier run had finished; the other numbers include them.
    counts
        Candidates of all queries without positives, and those that each limit ruled out.
    unjudged
        Number of queries without a relevant document, which are skipped.
    quotas, shortages
        Number of negatives asked of each source, and where there were fewer.
    warnings
        Lines about settings that give poor negatives.
    """

    path: Path
    queries: int = 0
    rows: int = 0
    suspects: int = 0
    resumed: int = 0
    counts: Counts = field(default_factory=Counts)
    suspect_queries: int = 0
    unjudged: int = 0
    quotas: Mapping[str, int] = field(default_factory=dict)
    shortages: Shortages = field(default_factory=Shortages)
    warnings: list[str] = field(default_factory=list)

    def add(self, rows: int, block: Mapping[str, Any]) -> None:
        """Add the rows and the counts of a block of queries, as a part stores them."""
        self.rows += rows
        self.suspects += block.get("suspects", 0)
        self.suspect_queries += block.get("suspect_queries", 0)
        self.counts.candidates += block.get("candidates", 0)
        for name, count in block.get("skipped", {}).items():
            self.counts.skipped[name] = self.counts.skipped.get(name, 0) + count
        self.shortages.add(Shortages(**block.get("shortages", {})))

    def __str__(self) -> str:
        lines = [f"{self.path}: {counted(self.rows, 'row')} for {counted(self.queries, 'query')}"]
        if self.resumed:
            lines.append(f"  {counted(self.resumed, 'query')} were done in an earlier run")
        if self.unjudged:
            lines.append(f"  {counted(self.unjudged, 'query')} without a relevant document left out")
        lines += self.shortages.lines(self.quotas)
        for limit, skipped in self.counts.skipped.items():
            lines.append(f"  {limit} ruled out {skipped:,} of {counted(self.counts.candidates, 'candidate')}")
        if self.suspects:
            lines.append(
                f"  {self.suspects:,} of {counted(self.counts.candidates, 'candidate')}, of "
                f"{counted(self.suspect_queries, 'query')}, score above a positive: "
                f"look at them in {self.path}/suspects-*.jsonl, they may be right answers"
            )
        return "\n".join([*lines, *(f"  {warning}" for warning in self.warnings)])
