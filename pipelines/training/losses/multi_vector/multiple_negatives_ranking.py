"""Multiple negatives ranking by late interaction: a query's own document against all others of the batch."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from indexing.inputs import require_positive
from pipelines.training.losses.base import SplitLoss, check_columns, row_slices
from pipelines.training.losses.cached import CachedLoss
from pipelines.training.losses.multi_vector.base import MultiVectorLoss, Score, stacked
from pipelines.training.losses.multi_vector.scores import colbert_scores, mean_colbert_scores


class MultiVectorMultipleNegativesRankingLoss(SplitLoss, MultiVectorLoss):
    """Cross-entropy of scale * score(query, document) over all documents, of (query, positive[, negative ...]).

    Parameters
    ----------
    scale
        1.0 suits MaxSim, a sum over the query's tokens; with its mean, about the length of a query does.
    similarity_fct, mini_batch_size
        See `MultiVectorLoss`.
    score_mini_batch_size
        Queries whose scores are computed at a time; None for all.
    gather_across_devices
        Use the rows of all training processes as negatives.

    References
    ----------
    Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over
    BERT", 2020; Santhanam et al., "ColBERTv2" (in-batch negatives), 2022.
    """

    score_functions: ClassVar[dict[str, Score]] = {"maxsim": colbert_scores, "meanmaxsim": mean_colbert_scores}

    def __init__(
        self,
        model: Any,
        *,
        scale: float = 1.0,
        similarity_fct: Score | str | None = None,
        mini_batch_size: int | None = None,
        score_mini_batch_size: int | None = None,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(model, similarity_fct, mini_batch_size)
        if not scale > 0:
            raise InputError(f"scale must be above 0, not {scale}")
        require_positive(score_mini_batch_size=score_mini_batch_size)
        self.scale, self.score_mini_batch_size = scale, score_mini_batch_size
        self.gather_across_devices = gather_across_devices

    def parts(self, embeddings: Sequence[Tensor], labels: Any, rows: int) -> Iterator[Tensor]:
        """Yield addends of the mean over the rows: each compares some queries with all documents."""
        check_columns(embeddings, 2, None, type(self).__name__, "query, positive[, negative ...]")
        count = self.score_mini_batch_size or rows
        for columns, part in row_slices(embeddings, count, gather=self.gather_across_devices):
            scores = self.scores(columns[0][part], stacked(columns[1:]))
            own = torch.arange(len(columns[0]), device=scores.device)[part] * (len(columns) - 1)
            yield F.cross_entropy(scores * self.scale, own, reduction="sum") / len(embeddings[0])


class CachedMultiVectorMultipleNegativesRankingLoss(CachedLoss):
    """`MultiVectorMultipleNegativesRankingLoss` with gradient caching.

    Parameters
    ----------
    scale, similarity_fct, gather_across_devices
        See `MultiVectorMultipleNegativesRankingLoss`.
    mini_batch_size, mini_batch_num_tokens
        See `CachedLoss`.
    score_mini_batch_size
        Queries whose scores are computed at a time (`mini_batch_size`).
    show_progress_bar
        Accepted and unused: the trainer shows progress.
    """

    def __init__(
        self,
        model: Any,
        *,
        scale: float = 1.0,
        similarity_fct: Score | str | None = None,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        score_mini_batch_size: int | None = None,
        gather_across_devices: bool = False,
        show_progress_bar: bool = False,
    ) -> None:
        loss = MultiVectorMultipleNegativesRankingLoss(
            model,
            scale=scale,
            similarity_fct=similarity_fct,
            score_mini_batch_size=score_mini_batch_size,
            gather_across_devices=gather_across_devices,
        )
        super().__init__(model, loss, mini_batch_size=mini_batch_size, mini_batch_num_tokens=mini_batch_num_tokens)
