"""Joined: a table that is split over several files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from indexing.corpora.sources.records import Record, Source


@dataclass(frozen=True, slots=True)
class Joined:
    """Sources read one after another as a single table.

    Parameters
    ----------
    parts
        At least one source.
    description
        Name of the table, for messages and progress bars.
    """

    parts: tuple[Source, ...]
    description: str

    @property
    def unit(self) -> str:
        """Unit of a record's number; numbering restarts in each part, and each record names its file."""
        return self.parts[0].unit

    @property
    def typed(self) -> bool:
        """Whether values have types."""
        return self.parts[0].typed

    def records(self) -> Iterator[Record]:
        """Read the records of all parts, in order."""
        for part in self.parts:
            yield from part.records()

    def count(self) -> int | None:
        """Return the sum of the parts' counts; None when one of them is unknown."""
        counts = [part.count() for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def fingerprint(self) -> str:
        """Return a digest of the parts' fingerprints, in order."""
        return hashlib.sha256("\n".join(part.fingerprint() for part in self.parts).encode()).hexdigest()
