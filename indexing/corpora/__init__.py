"""Readers of corpora, queries and qrels, and the chunking of long texts."""

from indexing.corpora.chunked import ChunkedCorpus
from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import Corpus, read_corpus
from indexing.corpora.queries import read_qrels, read_queries

__all__ = ["ChunkedCorpus", "Chunking", "Corpus", "read_corpus", "read_qrels", "read_queries"]
