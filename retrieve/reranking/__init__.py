"""Rerankers, their budget, and passages of long documents."""
