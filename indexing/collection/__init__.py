"""Everything on disk for one corpus: texts, journal, encoded documents and one index per leg."""
