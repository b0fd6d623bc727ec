"""Differentiable scores of late interaction over padded token vectors, with sentence-transformers' names and values.

Queries are [queries, tokens, dim]. A mask is True where a token is scored; without one, a vector of zeros is padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from indexing.inputs import whole_number
from indexing.max_sim import EMPTY_SCORE


def is_token(vectors: Tensor) -> Tensor:
    """Return which vectors [..., dim] are not all zeros, bool [...]."""
    return (vectors.detach() != 0).any(dim=-1)


def max_sims(
    queries: Tensor, documents: Tensor, queries_mask: Tensor, documents_mask: Tensor, *, mean: bool, pairs: bool
) -> Tensor:
    """Return MaxSim of each query and each document [n, m], or of query i and document i [n]; in float32.

    The mean form divides by the number of the query's tokens. A document without a token scores -1e9.
    """
    if pairs:
        similarities = queries @ documents.transpose(1, 2)
    else:
        similarities = torch.einsum("ash,bth->abst", queries, documents)
        queries_mask = queries_mask[:, None]
    similarities = similarities.masked_fill(~documents_mask[..., None, :], torch.finfo(similarities.dtype).min)
    # The largest are summed in float32: a sum in bfloat16 would make near scores equal.
    scores = (similarities.max(dim=-1).values.float() * queries_mask).sum(dim=-1)
    scores = scores.masked_fill(~documents_mask.any(dim=-1), EMPTY_SCORE)
    return scores / queries_mask.sum(dim=-1).clamp(min=1) if mean else scores


def colbert_scores(
    queries_embeddings: Tensor,
    documents_embeddings: Tensor,
    queries_mask: Tensor | None = None,
    documents_mask: Tensor | None = None,
    *,
    length_normalize: bool = False,
) -> Tensor:
    """Return the scores of each query and all documents, [queries, groups * documents].

    Parameters
    ----------
    documents_embeddings
        [groups, documents, tokens, dim]: the documents of each query of the batch; those of group j are the columns
        from ``j * documents``.
    length_normalize
        Divide by the number of the query's tokens.
    """
    columns = _by_column(
        queries_embeddings, documents_embeddings, queries_mask, documents_mask, mean=length_normalize, pairs=False
    )
    return torch.stack(columns, dim=2).flatten(1)


def colbert_scores_pairwise(
    queries_embeddings: Tensor,
    documents_embeddings: Tensor,
    queries_mask: Tensor | None = None,
    documents_mask: Tensor | None = None,
    *,
    length_normalize: bool = False,
) -> Tensor:
    """Return the score of query i and document i, [queries]; documents are [queries, tokens, dim]."""
    asked, present = _masks(queries_embeddings, documents_embeddings, queries_mask, documents_mask)
    return max_sims(queries_embeddings, documents_embeddings, asked, present, mean=length_normalize, pairs=True)


def colbert_kd_scores(
    queries_embeddings: Tensor,
    documents_embeddings: Tensor,
    queries_mask: Tensor | None = None,
    documents_mask: Tensor | None = None,
    *,
    length_normalize: bool = False,
) -> Tensor:
    """Return the scores of each query and its own documents [queries, documents, tokens, dim]."""
    columns = _by_column(
        queries_embeddings, documents_embeddings, queries_mask, documents_mask, mean=length_normalize, pairs=True
    )
    return torch.stack(columns, dim=1)


def mean_colbert_scores(
    queries_embeddings: Tensor,
    documents_embeddings: Tensor,
    queries_mask: Tensor | None = None,
    documents_mask: Tensor | None = None,
) -> Tensor:
    """Return `colbert_scores` divided by the number of each query's tokens."""
    return colbert_scores(queries_embeddings, documents_embeddings, queries_mask, documents_mask, length_normalize=True)


def mean_colbert_scores_pairwise(
    queries_embeddings: Tensor,
    documents_embeddings: Tensor,
    queries_mask: Tensor | None = None,
    documents_mask: Tensor | None = None,
) -> Tensor:
    """Return `colbert_scores_pairwise` divided by the number of each query's tokens."""
    return colbert_scores_pairwise(
        queries_embeddings, documents_embeddings, queries_mask, documents_mask, length_normalize=True
    )


def mean_colbert_kd_scores(
    queries_embeddings: Tensor,
    documents_embeddings: Tensor,
    queries_mask: Tensor | None = None,
    documents_mask: Tensor | None = None,
) -> Tensor:
    """Return `colbert_kd_scores` divided by the number of each query's tokens."""
    return colbert_kd_scores(
        queries_embeddings, documents_embeddings, queries_mask, documents_mask, length_normalize=True
    )


@dataclass(frozen=True, slots=True)
class XTRScores:
    """XTR's scores of each query and all documents: `colbert_scores` over the similarities that a search finds.

    Each query token keeps the `top_k` highest similarities among all tokens of all documents. A document's score is
    the sum of the largest kept ones, divided by the number of query tokens that kept any of it (at least 1).

    References
    ----------
    Lee et al., "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval", 2023, equation 5.
    """

    top_k: int = 256

    def __post_init__(self) -> None:
        whole_number(self.top_k, "top_k")

    def __call__(
        self,
        queries_embeddings: Tensor,
        documents_embeddings: Tensor,
        queries_mask: Tensor | None = None,
        documents_mask: Tensor | None = None,
    ) -> Tensor:
        """Return [queries, groups * documents]."""
        asked, present = _masks(queries_embeddings, documents_embeddings, queries_mask, documents_mask)
        documents, present = documents_embeddings.flatten(0, 1), present.flatten(0, 1)
        similarities = torch.einsum("ash,bth->asbt", queries_embeddings, documents)
        lowest = torch.finfo(similarities.dtype).min
        flat = similarities.masked_fill(~present[None, None], lowest).flatten(2)
        values, places = flat.topk(min(self.top_k, flat.shape[-1]), dim=-1, sorted=False)
        kept = torch.full_like(flat, lowest).scatter(-1, places, values).view_as(similarities)
        is_kept = (
            torch.zeros_like(flat, dtype=torch.bool)
            .scatter(-1, places, present.flatten()[places])
            .view_as(similarities)
        ).any(dim=-1) & asked[:, :, None]
        largest = kept.max(dim=-1).values.float().masked_fill(~is_kept, 0.0)
        scores = largest.sum(dim=1) / is_kept.sum(dim=1).clamp(min=1)
        return scores.masked_fill(~present.any(dim=-1)[None], EMPTY_SCORE)


class XTRKDScores(XTRScores):
    """XTR's scores of each query and its own documents: the tokens of other queries' documents compete, too."""

    __slots__ = ()

    def __call__(
        self,
        queries_embeddings: Tensor,
        documents_embeddings: Tensor,
        queries_mask: Tensor | None = None,
        documents_mask: Tensor | None = None,
    ) -> Tensor:
        """Return [queries, documents]."""
        every = super().__call__(queries_embeddings, documents_embeddings, queries_mask, documents_mask)
        rows = torch.arange(len(every), device=every.device)
        return every.unflatten(1, documents_embeddings.shape[:2])[rows, rows]


def _by_column(
    queries: Tensor,
    documents: Tensor,
    queries_mask: Tensor | None,
    documents_mask: Tensor | None,
    *,
    mean: bool,
    pairs: bool,
) -> list[Tensor]:
    """Return `max_sims` with each column of the documents: the similarities of all together would fill the memory."""
    asked, present = _masks(queries, documents, queries_mask, documents_mask)
    return [
        max_sims(queries, documents[:, at], asked, present[:, at], mean=mean, pairs=pairs)
        for at in range(documents.shape[1])
    ]


def _masks(
    queries: Tensor, documents: Tensor, queries_mask: Tensor | None, documents_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    asked = is_token(queries) if queries_mask is None else queries_mask.bool()
    return asked, is_token(documents) if documents_mask is None else documents_mask.bool()
