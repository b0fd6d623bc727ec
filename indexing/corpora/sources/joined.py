"""Several files that are one table."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from indexing.corpora.sources.records import Record, Source


@dataclass(frozen=True, slots=True)
class Joined:
    """Sources read one after another: a table in shards.

    Parameters
    ----------
    parts
        At least one.
    description
        What they are together, for messages and progress bars.
    """

    parts: tuple[Source, ...]
    description: str

    @property
    def unit(self) -> str:
        """What a record's place counts; places start again with each part, and each record names its file."""
        return self.parts[0].unit

    def records(self) -> Iterator[Record]:
        """Read all records of all parts."""
        for part in self.parts:
            yield from part.records()

    def count(self) -> int | None:
        """Add up the parts' counts; None when one does not know."""
        counts = [part.count() for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def fingerprint(self) -> str:
        """Give a digest of the parts' fingerprints, in order."""
        return hashlib.sha256("\n".join(part.fingerprint() for part in self.parts).encode()).hexdigest()
