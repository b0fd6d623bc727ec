"""Building a collection from a corpus: planning, estimating, encoding and indexing."""
