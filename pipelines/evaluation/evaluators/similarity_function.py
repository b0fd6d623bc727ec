"""The similarities that evaluators and models know, by name."""

from enum import StrEnum


class SimilarityFunction(StrEnum):
    """Equal to its name: "cosine" does wherever `COSINE` does."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"
