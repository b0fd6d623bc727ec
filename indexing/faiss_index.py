"""FaissIndex: a vector index on FAISS, exact (Flat) or approximate (HNSW), with string ids and deletes.

On disk it is a folder: ``settings.json`` names the generation of files that belong together and is replaced last, so
a crash at any instant leaves either the old generation or the new one, never half of each.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import folder_bytes, load_strings, save_strings, sync_file, write_json
from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.hits import Hits, StringArray, string_array

if TYPE_CHECKING:
    import faiss

FORMAT = 1
REBUILD_AT = 0.25
"""HNSW cannot remove: when more than this share of its vectors is deleted, `commit` rebuilds it from the rest."""


@dataclass(frozen=True, slots=True)
class FaissSettings:
    """What a FaissIndex is made of.

    Parameters
    ----------
    dimension
        Length of a vector.
    kind
        ``"flat"`` compares with every vector: exact. ``"hnsw"`` walks a graph: approximate, faster on large corpora.
    metric
        ``"cosine"`` normalises vectors and queries to length 1; ``"dot"`` takes them as they are.
    m, ef_construction, ef_search
        HNSW's links a node, breadth while building and breadth while searching (Malkov and Yashunin 2018).
    """

    dimension: int
    kind: Literal["flat", "hnsw"] = "flat"
    metric: Literal["cosine", "dot"] = "cosine"
    m: int = 32
    ef_construction: int = 200
    ef_search: int = 128

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise InputError(f"dimension must be at least 1, not {self.dimension}")
        if self.kind not in ("flat", "hnsw"):
            raise InputError(f"unknown kind {self.kind!r} of FAISS index: there are 'flat' and 'hnsw'")
        if self.metric not in ("cosine", "dot"):
            raise InputError(f"unknown metric {self.metric!r}: there are 'cosine' and 'dot'")


class FaissIndex:
    """Dense vectors under string ids.

    ``add`` replaces the vector of an id that is already there. Nothing is on disk before ``commit``.
    Use `create` or `open`; as a context manager it commits when the block ends without an error.
    """

    def __init__(self, path: Path, settings: FaissSettings, index: "faiss.Index", ids: list[str], generation: int):
        self.path = path
        self.settings = settings
        self._index = index
        self._ids = ids  # position -> id; a deleted position keeps its place and an empty string
        self._table: StringArray | None = None
        self._selector: faiss.IDSelector | None = None
        self._positions: dict[str, int] | None = None
        self._deleted = sum(not doc_id for doc_id in ids)
        self._generation = generation

    @classmethod
    def create(cls, path: str | Path, dimension: int, **settings: Any) -> Self:
        """Make an empty index at `path` (a folder that does not hold one); settings as in `FaissSettings`."""
        path = Path(path)
        if (path / "settings.json").exists():
            raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        path.mkdir(parents=True, exist_ok=True)
        chosen = FaissSettings(dimension, **settings)
        return cls(path, chosen, _empty(chosen), [], 0)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the last committed state."""
        import faiss

        path = Path(path)
        try:
            stored = json.loads((path / "settings.json").read_text("utf-8"))
            if stored.get("backend") != "faiss":
                raise StorageError(f"{path} holds an index of backend {stored.get('backend')!r}, not 'faiss'")
            if stored["format"] != FORMAT:
                raise StorageError(f"{path} has format {stored['format']}, this version reads {FORMAT}: build it again")
            generation = int(stored["generation"])
            settings = FaissSettings(**stored["settings"])
            ids = load_strings(path / f"ids-{generation}.npz").tolist()
            index = faiss.read_index(str(path / f"vectors-{generation}.faiss"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageError(f"{path} is not a FAISS index: {error.filename} is missing") from None
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise StorageError(f"the FAISS index {path} cannot be read ({error}): build it again") from error
        if index.ntotal != len(ids) or index.d != settings.dimension:
            raise StorageError(
                f"the FAISS index {path} is damaged: {index.ntotal} vectors of dimension {index.d} "
                f"for {len(ids)} ids of dimension {settings.dimension}; build it again"
            )
        return cls(path, settings, index, ids, generation)

    def add(self, ids: Sequence[str], vectors: NDArray[np.floating]) -> None:
        """Add vectors [n, dimension] under their ids; an id that is already there gets the new vector.

        Raises
        ------
        InputError
            For an empty or repeated id, a wrong dimension, a NaN or an infinity: nothing of the call is added.
        """
        if not len(ids) and not len(vectors):
            return
        rows = self._checked(vectors, "vector", ids)
        if len(ids) != len(rows):
            raise InputError(f"{len(ids)} ids for {len(rows)} vectors")
        check_ids(ids)
        self.delete(ids)
        start = len(self._ids)
        lookup = self._lookup()
        self._index.add(rows)
        self._ids.extend(ids)
        lookup.update(zip(ids, range(start, start + len(ids)), strict=True))
        self._table, self._selector = None, None

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids; those that are not there are passed over. Returns how many were there."""
        lookup = self._lookup()
        gone = sorted({lookup[doc_id] for doc_id in ids if doc_id in lookup})
        if not gone:
            return 0
        if self.settings.kind == "flat":
            self._keep(np.setdiff1d(np.arange(len(self._ids)), gone))
        else:
            for position in gone:
                del lookup[self._ids[position]]
                self._ids[position] = ""
            self._deleted += len(gone)
            self._table, self._selector = None, None
        return len(gone)

    def search(self, vectors: NDArray[np.floating], k: int) -> Hits:
        """Find the `k` best of each query vector [queries, dimension] (or one, [dimension]).

        Scores are inner products (of normalised vectors for cosine), float32. ``flat`` resolves ties at the cutoff by
        doc_id; ``hnsw`` only among what the graph returns.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        queries = self._checked(np.atleast_2d(vectors), "query vector")
        wanted = min(k, len(self))
        if not wanted or not len(queries):
            return Hits.empty(len(queries))
        if self.settings.kind == "flat":
            scores, codes = self._search_flat(queries, wanted)
        else:
            scores, codes = self._search_hnsw(queries, wanted)
        rows = np.repeat(np.arange(len(queries)), codes.shape[1])
        found = codes.ravel() >= 0
        return Hits.ranked(
            len(queries), rows[found], codes.ravel()[found], scores.ravel()[found], self._ids_table(), wanted
        )

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Give the stored vectors [n, dimension] of these ids.

        Raises
        ------
        InputError
            For an id that is not there.
        """
        lookup = self._lookup()
        missing = next((doc_id for doc_id in ids if doc_id not in lookup), None)
        if missing is not None:
            raise InputError(f"the id {missing!r} is not in the index {self.path}")
        return _reconstruct(self._index, np.fromiter((lookup[doc_id] for doc_id in ids), np.int64, count=len(ids)))

    def commit(self) -> None:
        """Write the present state to disk, all of it or nothing."""
        import faiss

        if self._deleted > REBUILD_AT * len(self._ids):
            self._keep(np.flatnonzero([bool(doc_id) for doc_id in self._ids]))
        old, self._generation = self._generation, self._generation + 1
        vectors = self.path / f"vectors-{self._generation}.faiss"
        faiss.write_index(self._index, str(vectors))
        sync_file(vectors)
        save_strings(self.path / f"ids-{self._generation}.npz", self._ids)
        write_json(
            self.path / "settings.json",
            {
                "backend": "faiss",
                "format": FORMAT,
                "generation": self._generation,
                "count": len(self),
                "settings": asdict(self.settings),
            },
        )
        for stale in (f"vectors-{old}.faiss", f"ids-{old}.npz"):
            (self.path / stale).unlink(missing_ok=True)

    def close(self) -> None:
        """Let the memory go; what was not committed is lost."""
        self._index, self._ids, self._positions = _empty(self.settings), [], {}
        self._table, self._selector, self._deleted = None, None, 0

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, as last committed."""
        return folder_bytes(self.path)

    def __len__(self) -> int:
        return len(self._ids) - self._deleted

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._lookup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
        self.close()

    def _search_flat(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search until no query's k-th score is tied with one left out."""
        depth = min(k + 1, len(self))
        scores, codes = self._index.search(queries, depth)
        while depth < len(self) and (open_ties := scores[:, k - 1] == scores[:, -1]).any():
            depth = min(2 * depth, len(self))
            wider = np.full((len(queries), depth), -np.inf, np.float32)
            wider_codes = np.full((len(queries), depth), -1, np.int64)
            wider[:, : scores.shape[1]], wider_codes[:, : scores.shape[1]] = scores, codes
            wider[open_ties], wider_codes[open_ties] = self._index.search(queries[open_ties], depth)
            scores, codes = wider, wider_codes
        return scores, codes

    def _search_hnsw(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        import faiss

        options: dict[str, Any] = {"efSearch": max(self.settings.ef_search, k)}
        if self._deleted:
            if self._selector is None:
                alive = np.array([bool(doc_id) for doc_id in self._ids])
                self._selector = faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))
            options["sel"] = self._selector
        return self._index.search(queries, k, params=faiss.SearchParametersHNSW(**options))

    def _keep(self, positions: NDArray[np.int64]) -> None:
        """Rebuild with the vectors at these positions only."""
        rows = _reconstruct(self._index, positions)
        self._index = _empty(self.settings)
        if len(rows):
            self._index.add(rows)
        self._ids = [self._ids[position] for position in positions.tolist()]
        self._positions, self._table, self._selector, self._deleted = None, None, None, 0

    def _checked(
        self, vectors: NDArray[np.floating], what: str, ids: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.settings.dimension:
            raise InputError(
                f"the index {self.path} holds vectors of dimension {self.settings.dimension}, "
                f"not an array of shape {list(rows.shape)}: was another encoder used?"
            )
        if not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise InputError(f"the {what} of {repr(ids[row]) if ids else f'row {row}'} holds a NaN or an infinity")
        if self.settings.metric == "cosine":
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
        return rows

    def _lookup(self) -> dict[str, int]:
        if self._positions is None:
            self._positions = {doc_id: position for position, doc_id in enumerate(self._ids) if doc_id}
        return self._positions

    def _ids_table(self) -> StringArray:
        if self._table is None:
            self._table = string_array(self._ids)
        return self._table


def _empty(settings: FaissSettings) -> "faiss.Index":
    import faiss

    if settings.kind == "flat":
        return faiss.IndexFlatIP(settings.dimension)
    index = faiss.IndexHNSWFlat(settings.dimension, settings.m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = settings.ef_construction
    return index


def _reconstruct(index: "faiss.Index", positions: NDArray[np.int64]) -> NDArray[np.float32]:
    return index.reconstruct_batch(positions) if len(positions) else np.zeros((0, index.d), np.float32)
