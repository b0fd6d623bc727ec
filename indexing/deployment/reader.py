"""DeployedCollection: a deployed collection open for reading, with the interface of `Collection`."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from indexing.collection.reader import Collection, Stats
from indexing.collection.rows import document_of
from indexing.collection.snapshot import Snapshot
from indexing.corpora.chunked import CHUNK, PARENT_ID
from indexing.deployment.layout import Layout
from indexing.deployment.legs import DeployedLegs
from indexing.deployment.places import Place, place_of
from indexing.deployment.sending import DOCUMENT
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike, parse_filter
from indexing.indexes.base import Index
from indexing.indexes.qdrant.engine import Point, QdrantEngine, point_id, scroll_all
from indexing.indexes.qdrant.filters import qdrant_filter
from indexing.indexes.qdrant.settings import DOC_ID

_AT_ONCE = 1000


class DeployedDocuments:
    """The documents of a deployed collection, with what searches use of `DocumentStore`.

    Parameters
    ----------
    engine
        Closed with this.
    layout
        The description of the collection.
    """

    replaced = False
    purged = 0

    def __init__(self, engine: QdrantEngine, layout: Layout, where: str) -> None:
        self.engine, self.layout, self.where = engine, layout, where

    @property
    def sequence(self) -> int:
        """The last write that is deployed."""
        return self.layout.sequence

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents of these ids, in their order; an `InputError` names an unknown one."""
        found = self._found(ids)
        missing = next((doc_id for doc_id in ids if doc_id not in found), None)
        if missing is not None:
            raise InputError(f"the document {missing!r} is not in {self.where}")
        return [found[doc_id] for doc_id in ids]

    def contents(self, ids: Sequence[str]) -> list[str]:
        """Return ``Document.contents`` of these ids, in their order; errors as in `get`."""
        return [document.contents for document in self.get(ids)]

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return all these ids: they come from the points themselves."""
        return set(ids)

    def alive(self, ids: Sequence[str]) -> set[str]:
        """Return those of these ids that exist."""
        return set(self._found(ids))

    def parents(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the parent's id of those of these ids that exist and are chunks."""
        found = self._found(ids).items()
        return {
            doc_id: str(one.metadata[PARENT_ID]) for doc_id, one in found if isinstance(one.metadata.get(CHUNK), dict)
        }

    def matching(self, filter: Any, fields: Any) -> list[str]:
        """Return the ids of the documents that match a filter."""
        condition = qdrant_filter(filter, fields, self.engine.conditions)
        pages = scroll_all(self.engine, _AT_ONCE, [], condition, [DOC_ID])
        return [point.payload[DOC_ID] for points in pages for point in points]

    def __iter__(self) -> Iterator[Document]:
        """Yield every document, in no order."""
        for points in scroll_all(self.engine, _AT_ONCE, []):
            yield from (document_of_point(point, self.where) for point in points)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def __len__(self) -> int:
        return self.engine.count()

    def _found(self, ids: Sequence[str]) -> dict[str, Document]:
        found: dict[str, Document] = {}
        distinct = list(dict.fromkeys(ids))
        for start in range(0, len(distinct), _AT_ONCE):
            points = self.engine.retrieve([point_id(one) for one in distinct[start : start + _AT_ONCE]], [])
            found |= {point.payload[DOC_ID]: document_of_point(point, self.where) for point in points}
        return found


def document_of_point(point: Point, where: str) -> Document:
    """Return the document in a point's payload; raise `StorageError` when it lacks one."""
    try:
        kept: Mapping[str, str] = point.payload[DOCUMENT]
        return document_of(point.payload[DOC_ID], kept["title"], kept["text"], kept["metadata"])
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"the point {point.id} of {where} lacks its document ({error!r:.100}): deploy the collection again"
        ) from error


class DeployedSnapshot(Snapshot):
    """The state of a deployed collection: always the present one."""

    def __init__(self, place: Place, layout: Layout, engine: QdrantEngine) -> None:
        documents: Any = DeployedDocuments(engine, layout, place.where)
        super().__init__(Path(place.where), layout.manifest, documents)
        self.place, self.layout, self.seen, self.tenants = place, layout, True, layout.tenant
        self.legs = DeployedLegs(Path(place.where), layout, engine)

    @property
    def outdated(self) -> bool:
        """False: searches see the present points."""
        return False

    @property
    def state(self) -> Hashable:
        """Key of what is deployed now, which another process may have replaced or brought forward."""
        layout = self.place.published()
        return None if layout is None else (layout.signature, layout.sequence)

    def settle(self) -> None:
        """Do nothing: all legs are in the same points."""

    def those_matching(self, ids: Sequence[str], filter: FilterLike) -> set[str]:
        """Return all these ids: the search has read the points themselves."""
        return set(ids)

    def count(self, filter: FilterLike) -> int:
        """Return the number of documents that a filter keeps."""
        engine, fields = self.documents.engine, self.manifest.fields  # type: ignore[attr-defined]
        return int(engine.count(qdrant_filter(parse_filter(filter, fields), fields, engine.conditions)))

    def _open_index(self, name: str) -> Index:
        self.leg(name)
        return self.legs.index(name)


class DeployedCollection(Collection):
    """A deployed collection open for reading; searches see what is deployed at that time."""

    @classmethod
    def open(cls, path: str | Path, *, place: Place | None = None) -> Self:
        """Open the deployed collection in a folder, or at ``http://HOST:6333/NAME``.

        Raises
        ------
        StorageError
            When there is none, or it is not complete.
        """
        place = place or place_of(str(path))
        layout = place.published()
        if layout is None:
            raise StorageError(f"{place.where} is no deployed collection: `retrieve deploy DIR --to {place.where}`")
        collection = cls.__new__(cls)
        collection._start(DeployedSnapshot(place, layout, place.open()))
        return collection

    @property
    def layout(self) -> Layout:
        """The description that is stored with the collection."""
        snapshot = self._snapshot
        assert isinstance(snapshot, DeployedSnapshot)
        return snapshot.layout

    @property
    def engine(self) -> QdrantEngine:
        """The engine with the points."""
        documents: Any = self._snapshot.documents
        engine: QdrantEngine = documents.engine
        return engine

    def matching(self, filter: FilterLike) -> list[str]:
        """Return the ids of the documents that a filter keeps, in no order."""
        fields = self.manifest.fields
        return self.documents.matching(parse_filter(filter, fields), fields)

    def refresh(self) -> None:
        """Do nothing: searches see the present points."""

    def stats(self) -> Stats:
        """Count what the collection contains."""
        return Stats(len(self), 0, self.layout.sequence, 0, {}, self.manifest.legs)
