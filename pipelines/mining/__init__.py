"""Hard-negative mining: candidates, positives, rescoring, filtering and formatting, one module per step."""
