"""What is stored: documents, hits, and the vector and inverted indexes (floor 0: knows nothing of models)."""
