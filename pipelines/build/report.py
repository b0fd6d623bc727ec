"""BuildReport: the outcome of a build or an update."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.plurals import counted


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Report of a build or an update.

    Parameters
    ----------
    path
        The collection.
    documents
        Number of documents that it now holds.
    skipped
        Number of unusable records in the corpus.
    duplicates
        Number of records with the id of an earlier one.
    written, unchanged, removed
        Number of documents that were indexed, that were already up to date, and that were deleted because the corpus
        lacks them.
    seconds
        Seconds by stage. Encoding and indexing run in parallel, so the stages sum to more than ``total``.
    leg_bytes, shard_bytes, store_bytes
        Size of each leg's index, of its encoded documents, and of the texts.
    new, changed, not_encoded
        Of the written documents those that the collection lacked, those that it held in another version, and those
        whose text it held in encoded form.
    updated
        An existing collection was updated.
    """

    path: Path
    documents: int
    skipped: int
    duplicates: int
    written: int
    unchanged: int
    removed: int
    seconds: Mapping[str, float]
    leg_bytes: Mapping[str, int]
    shard_bytes: Mapping[str, int]
    store_bytes: int
    new: int = 0
    changed: int = 0
    not_encoded: int = 0
    updated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "path": str(self.path)}

    def __str__(self) -> str:
        counts = [
            f"{count:,} {what}"
            for what, count in (
                ("new", self.new if self.updated else 0),
                ("changed", self.changed),
                ("unchanged", self.unchanged),
                ("removed", self.removed),
                ("skipped", self.skipped),
                ("with a repeated id", self.duplicates),
            )
            if count or (self.updated and what in ("new", "changed", "unchanged"))
        ]
        seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in self.seconds.items())
        sizes = ", ".join(f"{leg} {size / 1e6:.1f} MB" for leg, size in self.leg_bytes.items())
        encoded = sum(self.shard_bytes.values())
        again = f"  {counted(self.not_encoded, 'text')} had been encoded before\n" if self.not_encoded else ""
        counts = [counted(self.documents, "document"), *counts]
        return (
            f"{self.path}: {', '.join(counts)}\n{again}  time: {seconds}\n  legs: {sizes}"
            f"\n  texts: {self.store_bytes / 1e6:.1f} MB" + (f", encoded: {encoded / 1e6:.1f} MB" if encoded else "")
        )
