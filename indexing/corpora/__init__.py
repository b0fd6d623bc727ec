"""Readers of corpora, queries and qrels, and the chunking of long texts."""

from indexing.corpora.chunked import ChunkedCorpus
from indexing.corpora.chunking import Chunking
from indexing.corpora.corpus import Corpus, read_corpus
from indexing.corpora.files import FILES_FIELDS, FilesCorpus, read_files
from indexing.corpora.queries import read_qrels, read_queries

__all__ = [
    "FILES_FIELDS",
    "ChunkedCorpus",
    "Chunking",
    "Corpus",
    "FilesCorpus",
    "read_corpus",
    "read_files",
    "read_qrels",
    "read_queries",
]
