"""Choose a fusion and a reranker weight from judged queries."""
