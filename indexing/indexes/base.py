"""The contract of every kind of index.

A leg of a collection is one index. A new kind is one folder below `indexing/indexes` and one line in `registry.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.disk import folder_bytes
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, FilterLike
from indexing.hits import Hits
from indexing.indexes.leg_group import LegGroup
from indexing.indexes.names import Backend, Rows
from indexing.indexes.words import Words
from indexing.query_syntax import SyntaxQuery
from indexing.resources import Closing, Lifetime

Terms: TypeAlias = tuple[tuple[str, float], ...]
"""The query's terms that a document contains, each with its part of the score, the largest first."""
Precision: TypeAlias = Literal["exact", "rounded", "quantised"]
"""How exactly scores follow from the rows: float32, rounded to whole numbers, or from codes of fewer bits."""
MatchingIds: TypeAlias = Callable[[FilterLike], Sequence[str]]
"""Return the ids of the documents that a filter keeps: `Collection.matching`."""


class StoredRows(Protocol):
    """The rows that a collection stores for a leg, for kinds of index that keep none themselves."""

    def numbers(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of each document, which names its rows; -1 for an unknown one."""
        ...

    def read(self, numbers: NDArray[np.int64]) -> Any:
        """Return the rows of these numbers, in their order; raise `StorageError` if there are none."""
        ...


class Index(Closing):
    """Documents under string ids, found by their rows.

    Rows are one of: texts (a string or a `Document` each), vectors ``float32 [n, dimension]``, term weights as CSR
    ``[n, vocabulary]``, or `TokenVectors`; `KINDS` in the registry lists which. Queries have the same form, texts as
    strings.

    Nothing is durable before `commit`. As a context manager an index commits when the block ends without an error.
    """

    kind: ClassVar[Backend]
    opens_once: bool = False
    """True if its folder can be open only once at a time, in all processes."""
    vocabulary: Sequence[str] | None = None
    """The term of each column of its weights, for kinds that keep it."""
    group: LegGroup | None = None
    """The legs that it can be searched together with in one request, if any."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path, self.read_only = path, read_only
        self._sequence = 0
        self._lifetime = Lifetime(f"index {path}")

    @property
    def sequence(self) -> int:
        """The journal sequence that the last commit recorded."""
        return self._sequence

    @abstractmethod
    def upsert(self, ids: Sequence[str], rows: Any, metadata: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Add documents, or replace those whose ids exist. Repeating a call changes nothing.

        Parameters
        ----------
        ids
            The doc_ids, no two alike.
        rows
            One row a document.
        metadata
            One mapping a document, for kinds that keep the declared filter fields; other keys are ignored.

        Raises
        ------
        InputError
            For an empty, repeated or too long id, rows of a wrong shape, a NaN or an infinity, or metadata of a wrong
            type. Nothing of the call is stored.
        StorageError
            When the index is closed or open for reading only.
        """

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""

    @abstractmethod
    def search(self, queries: Any, k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best documents of each query, score descending, then doc_id ascending.

        Parameters
        ----------
        queries
            One row a query; a single vector is one query.
        k
            Number of hits, at least 1.
        filter
            Only documents that match are hits (see `indexing.filters.parse_filter`); scores are those without it.

        Raises
        ------
        InputError
            For queries of a wrong form, `k` below 1, or a filter over fields that are not declared.
        """

    @abstractmethod
    def score(self, queries: Any, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates: for query ``i`` the documents ``doc_ids[i]``.

        Returns
        -------
        ndarray
            float32 [candidates of all queries], in their order; 0 for one that shares no term with its query.

        Raises
        ------
        InputError
            For an unknown id, or another number of lists than of queries.
        """

    @abstractmethod
    def commit(self, sequence: int | None = None) -> None:
        """Make the present state durable, all of it or nothing.

        Parameters
        ----------
        sequence
            The last journal sequence that this state contains; by default that of the previous commit.
        """

    @abstractmethod
    def refresh(self) -> bool:
        """Load what another process has committed since; return whether something changed."""

    @abstractmethod
    def optimize(self) -> None:
        """Drop replaced and deleted documents and build what speeds up searches, at once."""

    @abstractmethod
    def close(self) -> None:
        """Release files and memory; uncommitted changes are lost. Closing twice is harmless."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of documents."""

    def finish_indexing(self) -> None:  # most kinds index as they go
        """Build what upserts postponed, such as Qdrant Edge's graph; called before the last commit of a write."""

    def files(self) -> list[Path]:
        """Return the files that a checksum covers: all whose content changes under a new name only."""
        return sorted(file for file in self.path.rglob("*") if file.is_file() and file.name != "write.lock")

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> "list[Terms] | None":
        """Return for each hit the query's terms that it contains, with their parts of its score.

        Parameters
        ----------
        queries
            As for `search`.
        hits
            The hits of these queries.
        vocabulary
            The term of each column, for kinds that store term weights without the terms.

        Returns
        -------
        list of ((term, summand), …), or None
            One entry a hit, largest summand first, then by term. None for kinds without terms.
        """
        return None

    def rare_hits(self, queries: Sequence[str], hits: Hits) -> "NDArray[np.bool_] | None":
        """Mark each query's first hits that contain rare words which decide the query: an identifier, a name.

        Parameters
        ----------
        queries, hits
            Texts, and the hits of this index for them.

        Returns
        -------
        bool [hits], or None
            None for kinds without words.
        """
        return None

    def constrained_ids(self, query: SyntaxQuery, limit: int, filter: FilterLike | None = None) -> list[str] | None:
        """Return the ids of the documents that meet a query's requirements and exclusions, and match a filter.

        Parameters
        ----------
        query
            A query with a constraint.
        limit
            Maximum number of ids.
        filter
            As for `search`.

        Returns
        -------
        list of str, or None
            None for more than `limit`.

        Raises
        ------
        InputError
            For kinds without words.
        """
        raise InputError(f"{self.path} holds no words, so it cannot tell which documents {query.reading!r} keeps")

    def meets_constraint(self, query: SyntaxQuery, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which documents meet a query's requirements and exclusions, bool; False for an unknown id."""
        raise InputError(f"{self.path} holds no words, so it cannot tell which documents {query.reading!r} keeps")

    def words(self) -> Words | None:
        """Return the statistics of the words; None for kinds without words."""
        return None

    def analyze(self, words: Sequence[str]) -> list[str] | None:
        """Return each word in the form that this index compares, "" for a stopword; None for kinds without words."""
        return None

    def statistics_shards(self) -> int:
        """Return the number of parts with document frequencies of their own: more than 1 only on a cluster."""
        return 1

    @property
    def size_bytes(self) -> int:
        """Bytes on this machine's disk."""
        return folder_bytes(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self.read_only and not self._lifetime.closed:
                self.commit()
        finally:
            self.close()

    def _check_open(self) -> None:
        self._lifetime.check()

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise StorageError(f"{self.path} is open for reading only: open it without read_only=True to change it")


@dataclass(frozen=True, slots=True)
class Lookups:
    """Look-ups that an index makes in its collection instead of keeping it.

    Parameters
    ----------
    matching
        Answer filters, for kinds that keep no field values.
    stored_rows
        Read stored rows, for kinds that keep none.
    """

    matching: MatchingIds | None = None
    stored_rows: StoredRows | None = None


NO_LOOKUPS = Lookups()
"""For an index outside of its collection."""


@dataclass(frozen=True, slots=True)
class Making:
    """Everything that a collection provides to a new index.

    Parameters
    ----------
    fields
        The metadata fields that searches may filter by, with their types.
    vocabulary
        Read the term of each column of the weights.
    lookups
        As when it is opened.
    """

    fields: Fields
    vocabulary: Callable[[], Sequence[str]]
    lookups: Lookups = NO_LOOKUPS


class Kind(ABC):
    """One kind of index: what it takes, which parameters it has, how it is made and opened.

    Parameters are those of a leg in the manifest: what describes the rows (``dimension``, ``columns``, …), and what was
    chosen for the index.
    """

    backend: ClassVar[Backend]
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Parameters that the manifest records even where nobody chose them."""
    file_names: ClassVar[str] = r"settings\.json"
    """Pattern of the names of its files: nothing else in its folder is ever deleted."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Folders in its folder that belong to its engine, whatever they contain."""
    placing: ClassVar[frozenset[str]] = frozenset()
    """Parameters that say where an index is, which several legs of a collection have alike."""

    @abstractmethod
    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of the parameters that may be chosen, given those that are chosen already."""

    def is_exact(self, rows: Rows, parameters: Mapping[str, Any]) -> bool:
        """Return whether a deeper search begins with the hits of a shallower one; a graph's search need not."""
        return True

    def precision(self, rows: Rows, parameters: Mapping[str, Any]) -> Precision:
        """Return how exactly scores follow from the rows."""
        return "exact"

    def score_scale(self, parameters: Mapping[str, Any]) -> float:
        """Return how many times as high scores are as the product of a query with the rows."""
        return 1.0

    def scoring(self, rows: Rows) -> frozenset[str]:
        """Return the parameters that decide how rows are read and scored.

        They stay when a leg changes its kind of index, and a kind that lacks one of them cannot take the leg.
        """
        return frozenset()

    def check_id(self, doc_id: str) -> None:  # noqa: B027  # most kinds store ids of any length
        """Raise `InputError` for an id that an index would refuse, before the document is encoded."""

    @abstractmethod
    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` for what an index would refuse, before the journal stores it."""

    @abstractmethod
    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> Index:
        """Make an empty index in a folder that holds none."""

    @abstractmethod
    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> Index:
        """Open the last committed state."""

    def recorded(self, rows: Rows) -> Mapping[str, Any]:
        """Return parameters that the manifest records even where nobody chose them, for these rows."""
        return {}

    def notes(self, path: Path) -> list[str]:
        """Return what `Index.optimize` would mend in the scores of the index in this folder, read from its settings."""
        return []

    def remarks(self, rows: Rows, parameters: Mapping[str, Any]) -> list[str]:
        """Return what a reader of scores should know of how this kind makes them."""
        return []

    def describe(self, parameters: Mapping[str, Any]) -> str:
        """Return the kind's name for messages, with the variant that decides which parameters it has."""
        return self.backend

    def fresh_after_delete(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether `Index.optimize` leaves an index as good as one built of the living documents."""
        return True

    def place(self, parameters: Mapping[str, Any], leg: str, collection: Path) -> Mapping[str, Any]:
        """Return the parameters with a place chosen for what the index keeps outside of its folder."""
        return parameters

    def left_elsewhere(self, parameters: Mapping[str, Any]) -> str | None:
        """Describe what a removed index leaves outside of its folder; None for nothing."""
        return None
