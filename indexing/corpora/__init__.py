"""Readers of corpora, queries and qrels, and the chunking of long texts."""
