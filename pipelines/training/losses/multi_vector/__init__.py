"""Losses over the token vectors of multi-vector encoders, with the names and arguments of sentence-transformers."""

from pipelines.training.losses.multi_vector.distill_kl_div import MultiVectorDistillKLDivLoss
from pipelines.training.losses.multi_vector.margin_mse import MultiVectorMarginMSELoss
from pipelines.training.losses.multi_vector.multiple_negatives_ranking import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from pipelines.training.losses.multi_vector.scores import (
    XTRKDScores,
    XTRScores,
    colbert_kd_scores,
    colbert_scores,
    colbert_scores_pairwise,
    mean_colbert_kd_scores,
    mean_colbert_scores,
    mean_colbert_scores_pairwise,
)

__all__ = [
    "CachedMultiVectorMultipleNegativesRankingLoss",
    "MultiVectorDistillKLDivLoss",
    "MultiVectorMarginMSELoss",
    "MultiVectorMultipleNegativesRankingLoss",
    "XTRKDScores",
    "XTRScores",
    "colbert_kd_scores",
    "colbert_scores",
    "colbert_scores_pairwise",
    "mean_colbert_kd_scores",
    "mean_colbert_scores",
    "mean_colbert_scores_pairwise",
]
