"""BM25 and learned term weights in Lucene."""
