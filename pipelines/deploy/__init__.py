"""Collections deployed to Qdrant, and certificates that two collections answer alike."""
