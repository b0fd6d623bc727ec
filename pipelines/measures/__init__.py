"""Measures of rankings: formulas, judgements, averages and significance tests."""

DEFAULT_MEASURES = ("nDCG@10", "AP@100", "RR@10", "R@100")
