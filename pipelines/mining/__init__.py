"""Hard-negative mining, in five steps a file each: candidates, positives, rescoring, filtering, formatting."""
