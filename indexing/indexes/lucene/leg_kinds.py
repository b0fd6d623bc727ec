"""BM25 and learned term weights in Lucene as kinds of leg."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.base import NO_LOOKUPS, Kind, Lookups, Making, Precision
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.lucene.index import check_id
from indexing.indexes.registry import Rows, chosen
from indexing.indexes.vectors import check_weight_rows

LUCENE_FILES = (
    r"(pending_)?segments_[0-9a-z]+|write\.lock|_[0-9a-z]+(_[\w-]+)?\."
    r"(si|cf[se]|fnm|fd[xtm]|ti[mp]|tmd|doc|pos|pay|psm|[nd]v[dm]|kd[dim]|di[im]|tv[xdm]|liv|ve[cxmq][fq]?|tmp)"
)


class Bm25Kind(Kind):
    """The words of documents; parameters as in `Bm25Index.create`."""

    backend = "bm25"
    file_names = LUCENE_FILES

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return the parameters of BM25: fields, analyzer, positions, similarity."""
        return self.scoring(rows) | {"positions"}

    def scoring(self, rows: Rows) -> frozenset[str]:
        """Return the analyzer, and the formula with its parameters."""
        return frozenset({"k1", "b", "analyzer", "weights", "similarity", "mu", "smoothing"})

    def check_id(self, doc_id: str) -> None:
        """Raise `InputError` for an id that Lucene cannot store."""
        check_id(doc_id)

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` for an id that Lucene cannot store."""
        for doc_id in ids:
            check_id(doc_id)

    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> Bm25Index:
        """Make an empty index."""
        return Bm25Index.create(path, fields=making.fields, **chosen(parameters))

    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> Bm25Index:
        """Open the last committed state."""
        return Bm25Index.open(path, read_only=read_only)


class ImpactKind(Kind):
    """Term weights as integer impacts; its parameter is ``scale``."""

    backend = "impact"
    file_names = rf"vocabulary\.txt|{LUCENE_FILES}"

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return the one parameter."""
        return frozenset({"scale"})

    def precision(self, rows: Rows, parameters: Mapping[str, Any]) -> Precision:
        """Return ``rounded``: impacts are whole numbers."""
        return "rounded"

    def score_scale(self, parameters: Mapping[str, Any]) -> float:
        """Return the square of ``scale``, which multiplies the weights of documents and of queries."""
        return float(parameters.get("scale", 100)) ** 2

    def check_id(self, doc_id: str) -> None:
        """Raise `InputError` for an id that Lucene cannot store."""
        check_id(doc_id)

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` for an id that Lucene cannot store, or weights that cannot be impacts."""
        for doc_id in ids:
            check_id(doc_id)
        check_weight_rows(ids, rows, int(parameters["columns"]), float(parameters.get("scale", 100)))

    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> ImpactIndex:
        """Make an empty index."""
        return ImpactIndex.create(path, vocabulary=making.vocabulary(), fields=making.fields, **chosen(parameters))

    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> ImpactIndex:
        """Open the last committed state."""
        return ImpactIndex.open(path, read_only=read_only)
