"""Documents on their way into a BM25 index."""

from collections.abc import Iterable

from indexing.documents import Document
from indexing.indexes.lucene.bm25 import Bm25Index


def upsert_documents(index: Bm25Index, documents: Iterable[Document]) -> None:
    """Write documents with their metadata."""
    batch = list(documents)
    index.upsert([one.doc_id for one in batch], batch, [one.metadata for one in batch])
