"""Multiple negatives ranking (InfoNCE): a query's own document against all others of the batch."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from indexing.errors import InputError
from pipelines.training.losses.base import SplitLoss, check_columns, row_slices
from pipelines.training.losses.similarity import Metric, all_pairs, check_metric

Direction: TypeAlias = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
Partition: TypeAlias = Literal["joint", "per_direction"]
Hardness: TypeAlias = Literal["in_batch_negatives", "hard_negatives", "all_negatives"]


def multiple_negatives_ranking(
    queries: Tensor,
    documents: Sequence[Tensor],
    *,
    rows: slice | None = None,
    scale: float = 20.0,
    similarity: Metric = "cosine",
    directions: Sequence[Direction] = ("query_to_doc",),
    partition: Partition = "joint",
    hardness: Hardness | None = None,
    hardness_strength: float = 0.0,
) -> Tensor:
    r"""Return the loss of each row, [rows].

    With s = scale * similarity, row i's loss is :math:`\log Z_i - s(q_i, d_i)`. Z_i sums exp(s) over the pairs that the
    directions name: q_i with all documents (query_to_doc), q_i with the other queries (query_to_query), d_i with all
    queries (doc_to_query), d_i with the documents of other queries (doc_to_doc).

    Parameters
    ----------
    queries
        [n, width].
    documents
        Each [n, width]: the positives, then any number of columns of hard negatives.
    rows
        Rows to compute the loss of (all); the others serve as negatives.
    partition
        One Z over all directions ("joint"), or the mean of their log Z ("per_direction").
    hardness, hardness_strength
        Add strength * similarity, without gradient, to the logits of a query's own hard negatives, of the documents
        of other queries, or of all negatives ("all_negatives": own hard negatives and other queries' documents).

    References
    ----------
    Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply", 2017; van den Oord et al.,
    "Representation Learning with Contrastive Predictive Coding", 2018; Li et al., "Towards General Text Embeddings
    with Multi-stage Contrastive Learning" (directions), 2023; Lan et al., "LLaVE" (hardness), 2025.
    """
    n = len(queries)
    own = torch.arange(n, device=queries.device)[rows or slice(None)]
    every = torch.cat(list(documents))
    mine, positives = queries[own], documents[0][own]
    at = torch.arange(len(own), device=own.device)
    own_documents = own[:, None] + n * torch.arange(len(documents), device=own.device)[None, :]

    similarities = {"query_to_doc": all_pairs(similarity, mine, every)}
    logits = {"query_to_doc": scale * similarities["query_to_doc"]}
    if hardness is not None and hardness_strength > 0:
        logits["query_to_doc"] = logits["query_to_doc"] + _penalty(
            similarities["query_to_doc"].detach() * hardness_strength, own_documents, hardness
        )
    if "query_to_query" in directions:
        logits["query_to_query"] = (scale * all_pairs(similarity, mine, queries)).index_put(
            (at, own), torch.tensor(-torch.inf, dtype=mine.dtype, device=mine.device)
        )
    if "doc_to_query" in directions:
        logits["doc_to_query"] = scale * all_pairs(similarity, positives, queries)
    if "doc_to_doc" in directions:
        logits["doc_to_doc"] = (scale * all_pairs(similarity, positives, every)).scatter(1, own_documents, -torch.inf)

    positive = logits["query_to_doc"][at, own]
    if partition == "joint":
        return torch.logsumexp(torch.cat([logits[name] for name in logits], dim=1), dim=1) - positive
    return torch.stack([torch.logsumexp(part, dim=1) for part in logits.values()]).mean(dim=0) - positive


class MultipleNegativesRankingLoss(SplitLoss):
    """`multiple_negatives_ranking` of (query, positive[, negative ...]).

    Parameters
    ----------
    gather_across_devices
        Use the rows of all training processes as negatives.
    """

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity: Metric = "cosine",
        *,
        gather_across_devices: bool = False,
        directions: Sequence[Direction] = ("query_to_doc",),
        partition_mode: Partition = "joint",
        hardness_mode: Hardness | None = None,
        hardness_strength: float = 0.0,
    ) -> None:
        super().__init__(model)
        check_metric(similarity)
        _check(scale, directions, partition_mode, hardness_mode, hardness_strength)
        self.scale, self.similarity, self.gather_across_devices = scale, similarity, gather_across_devices
        self.directions, self.partition_mode = tuple(directions), partition_mode
        self.hardness_mode, self.hardness_strength = hardness_mode, hardness_strength

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield addends of the mean over the rows: each compares some queries with all documents."""
        check_columns(embeddings, 2, None, type(self).__name__, "query, positive[, negative ...]")
        for columns, part in row_slices(embeddings, rows, gather=self.gather_across_devices):
            losses = multiple_negatives_ranking(
                columns[0],
                columns[1:],
                rows=part,
                scale=self.scale,
                similarity=self.similarity,
                directions=self.directions,
                partition=self.partition_mode,
                hardness=self.hardness_mode,
                hardness_strength=self.hardness_strength,
            )
            yield losses.sum() / len(embeddings[0])


class MultipleNegativesSymmetricRankingLoss(MultipleNegativesRankingLoss):
    """The mean of the losses query to document and document to query, as in CLIP.

    References
    ----------
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity: Metric = "cosine",
        *,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(
            model,
            scale,
            similarity,
            gather_across_devices=gather_across_devices,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        )


def _penalty(weighted: Tensor, own_documents: Tensor, hardness: Hardness) -> Tensor:
    """Return `weighted` at the entries that the mode of hardness selects, 0 elsewhere."""
    own = torch.zeros_like(weighted, dtype=torch.bool).scatter(1, own_documents, True)
    positive = torch.zeros_like(own).scatter(1, own_documents[:, :1], True)
    selected = {"hard_negatives": own & ~positive, "in_batch_negatives": ~own, "all_negatives": ~positive}[hardness]
    return weighted * selected


def _check(
    scale: float, directions: Sequence[str], partition: str, hardness: str | None, hardness_strength: float
) -> None:
    if not scale > 0:
        raise InputError(f"scale must be above 0, not {scale}")
    if unknown := [name for name in directions if name not in get_args(Direction)]:
        raise InputError(f"unknown direction {unknown[0]!r}: there are {', '.join(get_args(Direction))}")
    if "query_to_doc" not in directions:
        raise InputError("directions must include query_to_doc, which contains the positive pair")
    if partition not in get_args(Partition):
        raise InputError(f"partition_mode must be joint or per_direction, not {partition!r}")
    if partition == "per_direction" and {"query_to_query", "doc_to_doc"} & set(directions):
        raise InputError(
            "partition_mode='per_direction' needs the positive pair in each direction, and query_to_query and "
            "doc_to_doc do not contain it: use 'joint'"
        )
    if hardness is not None and hardness not in get_args(Hardness):
        raise InputError(f"unknown hardness_mode {hardness!r}: there are {', '.join(get_args(Hardness))}")
    if hardness_strength < 0:
        raise InputError(f"hardness_strength must be at least 0, not {hardness_strength}")
