"""Other tools' fusions with equal scores: one module per tool, with the tool's own names of its methods."""
