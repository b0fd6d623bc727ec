"""Dense, sparse and token vectors in Qdrant: embedded, on a server, or in the client's local mode."""
