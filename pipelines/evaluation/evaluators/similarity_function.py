"""Names of the similarities."""

from enum import StrEnum


class SimilarityFunction(StrEnum):
    """Enumeration of similarities; members equal their names, so "cosine" works like `COSINE`."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"
