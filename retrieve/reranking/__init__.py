"""The second stage: rerankers, their budget, and windows of long documents."""
