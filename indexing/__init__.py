"""Storage: documents, hits, corpora, and the vector and inverted indexes (floor 0: imports no models).

Names are loaded when first used, so importing this package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexing.collection.reader import Collection
    from indexing.corpora import ChunkedCorpus, Chunking, Corpus, read_corpus, read_qrels, read_queries
    from indexing.documents import Document
    from indexing.hits import Hits
    from indexing.runs import read_trec_run, write_trec_run

_NAMES = {
    "indexing.collection.reader": ("Collection",),
    "indexing.corpora": ("ChunkedCorpus", "Chunking", "Corpus", "read_corpus", "read_qrels", "read_queries"),
    "indexing.documents": ("Document",),
    "indexing.hits": ("Hits",),
    "indexing.runs": ("read_trec_run", "write_trec_run"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "ChunkedCorpus",
    "Chunking",
    "Collection",
    "Corpus",
    "Document",
    "Hits",
    "read_corpus",
    "read_qrels",
    "read_queries",
    "read_trec_run",
    "write_trec_run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'indexing' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
