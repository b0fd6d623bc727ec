"""Losses over the scores of a cross-encoder."""

from pipelines.training.losses.cross.adr_mse import ADRMSELoss
from pipelines.training.losses.cross.lambda_loss import LambdaLoss, RankNetLoss
from pipelines.training.losses.cross.list_mle import ListMLELoss, PListMLELoss
from pipelines.training.losses.cross.list_net import ListNetLoss
from pipelines.training.losses.cross.margin_mse import MarginMSELoss
from pipelines.training.losses.cross.multiple_negatives_ranking import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from pipelines.training.losses.cross.pointwise import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss

__all__ = [
    "ADRMSELoss",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
    "CrossEntropyLoss",
    "LambdaLoss",
    "ListMLELoss",
    "ListNetLoss",
    "MSELoss",
    "MarginMSELoss",
    "MultipleNegativesRankingLoss",
    "PListMLELoss",
    "RankNetLoss",
]
