"""From a corpus to a collection."""
