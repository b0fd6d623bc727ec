"""Other tools' fusions, exactly: one module a tool, with its methods by their own names."""
