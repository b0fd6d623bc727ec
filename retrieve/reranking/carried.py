"""The weight of the first stage that a trained reranker carries in its checkpoint, and where it was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from indexing.disk import write_json
from indexing.errors import InputError, ModelError
from indexing.settings_files import read_dataclass, read_yaml

FILE = "reranking.json"
"""File in a checkpoint; other tools ignore it."""

ELSEWHERE = 0.8
"""Weight of the first stage on collections where the reranker was not measured (figures: docs/reranking.md)."""

SAMPLE = 32
"""Number of documents by which a collection is recognized."""


@runtime_checkable
class _Store(Protocol):
    def alive(self, ids: Sequence[str]) -> set[str]: ...
    def contents(self, ids: Sequence[str]) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class CarriedWeight:
    """Weight of the first stage's score that was tuned for a reranker.

    Parameters
    ----------
    weight
        The weight in the collection where it was tuned.
    elsewhere
        The weight in any other collection.
    collection
        Name of the collection.
    queries, candidates
        Number of held-out queries of the comparison, and of hits that were reranked for each.
    gain
        nDCG@10 over the first stage on these queries with this weight: difference, and its 95% interval.
    documents
        Digests of the texts of some documents, by id: a collection that has at least half of them is the same one,
        wherever it was moved and however much was added.
    """

    weight: float
    elsewhere: float
    collection: str
    queries: int
    candidates: int
    gain: tuple[float, ...]
    documents: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not (0 <= self.weight <= 1 and 0 <= self.elsewhere <= 1):
            raise InputError(f"weights must be between 0 and 1, not {self.weight} and {self.elsewhere}")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the file in a checkpoint's folder; None where there is none.

        Raises
        ------
        ModelError
            For a damaged file.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            return None
        try:
            return read_dataclass(cls, read_yaml(file), str(file))
        except InputError as error:
            raise ModelError(f"{error}: train again, delete the file, or state a weight") from error

    def write(self, folder: Path) -> None:
        """Write the file into a checkpoint's folder, atomically."""
        write_json(Path(folder) / FILE, asdict(self))

    def for_documents(self, documents: Any) -> float:
        """Return the weight for the collection with these documents: a store, or a mapping of texts by id."""
        if isinstance(documents, Mapping):
            texts = {doc_id: documents[doc_id] for doc_id in self.documents if doc_id in documents}
        elif isinstance(documents, _Store):
            present = sorted(documents.alive(list(self.documents)))
            texts = dict(zip(present, documents.contents(present), strict=True)) if present else {}
        else:
            texts = {}
        known = sum(self.documents[doc_id] == _digest(text) for doc_id, text in texts.items())
        return self.weight if self.documents and 2 * known >= len(self.documents) else self.elsewhere


def sample_documents(ids: Iterable[str], documents: _Store) -> dict[str, str]:
    """Return the digests of the texts of at most `SAMPLE` of these documents, spread over the ids."""
    chosen = nsmallest(SAMPLE, set(ids), key=_digest)
    return {doc_id: _digest(text) for doc_id, text in zip(chosen, documents.contents(chosen), strict=True)}


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
