"""Token vectors of documents and of queries, in the form that Qdrant stores and accepts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexing.errors import InputError
from indexing.indexes.qdrant.settings import LARGEST_DOCUMENT, QdrantSettings
from indexing.indexes.vectors import check_token_vectors
from indexing.token_vectors import TokenVectors


def document_tokens(rows: Any, settings: QdrantSettings, path: Path, ids: Sequence[str]) -> TokenVectors:
    """Check the token vectors of documents, and round them to float16, as every index of token vectors keeps them.

    Raises
    ------
    InputError
        For a wrong shape, a NaN, a number beyond float16, or a document of more than `LARGEST_DOCUMENT` numbers.
    """
    vectors = check_token_vectors(rows, settings.dimension, path, ids)
    check_sizes(vectors, ids)
    # Qdrant keeps them in float32: with float16 it would round the queries' vectors too.
    return vectors._replace(vectors=vectors.vectors.astype(np.float16).astype(np.float32))


def query_tokens(queries: Any, settings: QdrantSettings, path: Path) -> TokenVectors:
    """Check the token vectors of queries: `TokenVectors`, or those of one query, [tokens, dim]."""
    if isinstance(queries, np.ndarray) and queries.ndim == 2:
        queries = TokenVectors(np.array([0, len(queries)]), queries)
    vectors = check_token_vectors(queries, settings.dimension, path)
    check_sizes(vectors)
    return vectors


def check_sizes(vectors: TokenVectors, ids: Sequence[str] | None = None) -> None:
    """Raise `InputError` for a text with more token vectors than a point of Qdrant may have.

    Parameters
    ----------
    vectors
        The token vectors.
    ids
        The documents' ids; None for queries.
    """
    most = LARGEST_DOCUMENT // max(vectors.dimension, 1)
    if vectors.texts and vectors.lengths.max() > most:
        row = int(vectors.lengths.argmax())
        what = f"the query of row {row}" if ids is None else f"the document {ids[row]!r}"
        raise InputError(
            f"{what} has {vectors.lengths[row]:,} token vectors of dimension {vectors.dimension}, and Qdrant stores at "
            f"most {most:,} of them a text: encode with a shorter length"
        )
