"""Measures of a ranking: formulas, judgements, averages and significance."""
