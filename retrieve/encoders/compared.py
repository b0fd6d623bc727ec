"""Similarities as methods of encoders: `similarity` of all pairs, `similarity_pairwise` of matching rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.errors import InputError
from indexing.max_sim import max_sim, max_sim_pairwise
from indexing.token_vectors import TokenVectors
from retrieve.encoders.given_vectors import check_vectors
from retrieve.encoders.similarity import SIMILARITIES, all_pairs, check_similarities, row_by_row

if TYPE_CHECKING:
    from torch import Tensor

TOKEN_SIMILARITIES = ("maxsim", "meanmaxsim")


class NamedSimilarity:
    """Name of an encoder's similarity, from its checkpoint or set later."""

    similarities: Sequence[str] = SIMILARITIES
    default_similarity = "cosine"
    checkpoint: Any
    _similarity_fn_name: str | None = None

    @property
    def similarity_fn_name(self) -> Any:
        """Name of the similarity: the checkpoint's, unless it is set. Setting it changes `identity` too."""
        if self._similarity_fn_name is not None:
            return self._similarity_fn_name
        named = self.checkpoint.settings.get("similarity_fn_name")
        return named if named in self.similarities else self.default_similarity

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: str | None) -> None:
        self._similarity_fn_name = None if name is None else str(check_similarities([name], self.similarities)[0])


class ComparesVectors:
    """Methods that compare vectors by `similarity_fn_name`; names, arguments and results of sentence-transformers."""

    similarity_fn_name: Any

    def similarity(self, embeddings1: Any, embeddings2: Any) -> "Tensor":
        """Return the similarity of each row of one set to each row of the other; distances are negative.

        Parameters
        ----------
        embeddings1, embeddings2
            Vectors [rows, width]: an array, a tensor, a list of either, or a sparse matrix. One vector is one row.

        Returns
        -------
        torch.Tensor
            float32 [rows of embeddings1, rows of embeddings2] on the CPU.

        Raises
        ------
        InputError
            For vectors of different widths, or with a NaN or an infinity.
        """
        import torch

        one, other = _two_sets(embeddings1, embeddings2)
        return torch.from_numpy(np.asarray(all_pairs(self.similarity_fn_name, one, other), np.float32))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> "Tensor":
        """Return the similarity of row i of one set to row i of the other, float32 [rows]; see `similarity`.

        Raises
        ------
        InputError
            Also for sets of different sizes.
        """
        import torch

        one, other = _two_sets(embeddings1, embeddings2)
        _check_sizes(one.shape[0], other.shape[0])
        return torch.from_numpy(np.asarray(row_by_row(self.similarity_fn_name, one, other), np.float32))


class ComparesTokens:
    """Methods that compare token vectors by MaxSim, or by its mean where `similarity_fn_name` says so."""

    similarity_fn_name: Any

    def similarity(self, embeddings1: Any, embeddings2: Any, *, length_normalize: bool | None = None) -> "Tensor":
        """Return the MaxSim of each query with each document, float32 [queries, documents] on the CPU.

        Parameters
        ----------
        embeddings1, embeddings2
            Queries and documents: `TokenVectors`, a list of arrays or tensors [tokens, width], a padded array or tensor
            [texts, tokens, width] whose zero rows are padding, or [tokens, width] for a single text.
        length_normalize
            Divide by the number of the query's vectors; by default as `similarity_fn_name` says.
        """
        import torch

        queries, documents = (_token_vectors(embeddings) for embeddings in (embeddings1, embeddings2))
        return torch.from_numpy(max_sim(queries, documents, mean=self._mean(length_normalize)))

    def similarity_pairwise(
        self, embeddings1: Any, embeddings2: Any, *, length_normalize: bool | None = None
    ) -> "Tensor":
        """Return the MaxSim of query i with document i, float32 [pairs]; see `similarity`."""
        import torch

        queries, documents = (_token_vectors(embeddings) for embeddings in (embeddings1, embeddings2))
        return torch.from_numpy(max_sim_pairwise(queries, documents, mean=self._mean(length_normalize)))

    def _mean(self, length_normalize: bool | None) -> bool:
        return bool(self.similarity_fn_name == "meanmaxsim" if length_normalize is None else length_normalize)


def _two_sets(first: Any, second: Any) -> tuple[Any, Any]:
    one, other = check_vectors(first, "embeddings1"), check_vectors(second, "embeddings2")
    if one.shape[1] != other.shape[1] and one.shape[0] and other.shape[0]:
        raise InputError(
            f"embeddings1 have {one.shape[1]} dimensions and embeddings2 {other.shape[1]}: encode both with one model"
        )
    if isinstance(one, np.ndarray) == isinstance(other, np.ndarray):
        return one, other
    return tuple(rows if isinstance(rows, np.ndarray) else rows.toarray() for rows in (one, other))  # type: ignore[return-value]


def _check_sizes(first: int, second: int) -> None:
    if first != second:
        raise InputError(f"pairs need as many embeddings1 as embeddings2, not {first} and {second}")


def _token_vectors(given: Any) -> TokenVectors:
    if isinstance(given, TokenVectors):
        return given
    if not isinstance(given, list | tuple):
        array = _float32(given)
        if array.ndim not in (2, 3):
            raise InputError(
                f"token vectors must be [texts, tokens, width] or [tokens, width], not {list(array.shape)}"
            )
        given = [array] if array.ndim == 2 else [text[text.any(axis=1)] for text in array]
    return TokenVectors.of([_float32(text) for text in given])


def _float32(vectors: Any) -> Any:
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().cpu().float().numpy()
    return np.ascontiguousarray(vectors, np.float32)
