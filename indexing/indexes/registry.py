"""The registry of the kinds of index: one line each. Importing it loads none of them."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.indexes.names import TOKEN_METRICS
from indexing.indexes.names import Backend as Backend
from indexing.indexes.names import Rows as Rows

if TYPE_CHECKING:
    from indexing.indexes.base import Kind
    from indexing.indexes.bm25_weights import Analysis

KINDS: Mapping[Backend, tuple[tuple[Rows, ...], str]] = {
    "bm25": (("text",), "indexing.indexes.lucene.leg_kinds:Bm25Kind"),
    "faiss": (("vectors",), "indexing.indexes.faiss.leg_kind:FaissKind"),
    "impact": (("weights",), "indexing.indexes.lucene.leg_kinds:ImpactKind"),
    "postings": (("weights",), "indexing.indexes.postings.leg_kind:PostingsKind"),
    "tokens": (("tokens",), "indexing.indexes.tokens.leg_kind:TokensKind"),
    "qdrant": (("vectors", "tokens", "text", "weights"), "indexing.indexes.qdrant.leg_kind:QdrantKind"),
}
"""The rows that each kind takes, and its class. The first kind that takes some rows is their default."""

ROW_PARAMETERS: Mapping[str, frozenset[str]] = {
    "text": frozenset(),
    "vectors": frozenset({"dimension", "dtype"}),
    "weights": frozenset({"columns", "vocabulary_sha256"}),
    "tokens": frozenset({"dimension", "dtype"}),
}
"""Parameters of a leg that describe its rows."""
OF_ROWS = frozenset[str]().union(*ROW_PARAMETERS.values())
ANALYZER = "analyzer"
"""Parameter that tells a leg of texts from others, of a kind that takes several sorts of rows."""
_ANALYSIS = "indexing.indexes.lucene.analysis:TextAnalysis"


def analysis_of(analyzer: str, where: Path) -> "Analysis":
    """Return the analysis of texts of this name, for the index at `where`; it starts Java when first used.

    Raises
    ------
    InputError
        For an unknown name.
    """
    module, _, name = _ANALYSIS.partition(":")
    made: Analysis = getattr(import_module(module), name)(analyzer, where)
    return made


def kind_of(backend: Backend) -> "Kind":
    """Return the kind of this name.

    Raises
    ------
    InputError
        When there is none.
    """
    if backend not in KINDS:
        raise InputError(f"unknown backend {backend!r}: there are {', '.join(map(repr, KINDS))}")
    return _kind(backend)


@cache
def _kind(backend: Backend) -> "Kind":
    # A kind has no state. It is asked for with every document of a corpus.
    module, _, name = KINDS[backend][1].partition(":")
    kind: type[Kind] = getattr(import_module(module), name)
    return kind()


def chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the index alone, without those that describe the rows."""
    return {name: value for name, value in parameters.items() if name not in OF_ROWS}


def backends_of(rows: Rows) -> tuple[Backend, ...]:
    """Return the kinds that take these rows, the default first."""
    return tuple(backend for backend, (taken, _) in KINDS.items() if rows in taken)


def rows_of(backend: Backend, parameters: Mapping[str, Any]) -> Rows:
    """Return which rows an index of this kind takes, by the parameters that describe them."""
    taken = KINDS[backend][0]
    if "tokens" in taken and parameters.get("metric") in TOKEN_METRICS:
        return "tokens"
    if "text" in taken and ANALYZER in parameters:
        return "text"
    return next((rows for rows in taken if ROW_PARAMETERS[rows] & parameters.keys()), taken[-1])
