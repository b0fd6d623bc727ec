"""Losses over embeddings of dense and sparse encoders; ``cross`` holds the losses of cross-encoders."""

from pipelines.training.losses.adaptive_layer import AdaptiveLayerLoss, Matryoshka2dLoss
from pipelines.training.losses.batch_triplets import (
    BatchAllTripletLoss,
    BatchHardSoftMarginTripletLoss,
    BatchHardTripletLoss,
    BatchSemiHardTripletLoss,
)
from pipelines.training.losses.cached import (
    CachedGISTEmbedLoss,
    CachedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    CachedSpladeLoss,
)
from pipelines.training.losses.contrastive import ContrastiveLoss, OnlineContrastiveLoss
from pipelines.training.losses.contrastive_tension import (
    ContrastiveTensionLoss,
    ContrastiveTensionLossInBatchNegatives,
)
from pipelines.training.losses.cosent import AnglELoss, CoSENTLoss
from pipelines.training.losses.cosine_similarity import CosineSimilarityLoss
from pipelines.training.losses.denoising import DenoisingAutoEncoderLoss
from pipelines.training.losses.distill_kl_div import DistillKLDivLoss
from pipelines.training.losses.embed_distill import EmbedDistillLoss
from pipelines.training.losses.gist import GISTEmbedLoss
from pipelines.training.losses.margin_mse import MarginMSELoss
from pipelines.training.losses.matryoshka import MatryoshkaLoss
from pipelines.training.losses.mega_batch_margin import MegaBatchMarginLoss
from pipelines.training.losses.mse import MSELoss
from pipelines.training.losses.multiple_negatives_ranking import (
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)
from pipelines.training.losses.orthogonal import GlobalOrthogonalRegularizationLoss
from pipelines.training.losses.softmax import SoftmaxLoss
from pipelines.training.losses.sparse_autoencoder import CSRLoss, CSRReconstructionLoss
from pipelines.training.losses.splade import FlopsLoss, SpladeLoss
from pipelines.training.losses.triplet import TripletLoss

__all__ = [
    "AdaptiveLayerLoss",
    "AnglELoss",
    "BatchAllTripletLoss",
    "BatchHardSoftMarginTripletLoss",
    "BatchHardTripletLoss",
    "BatchSemiHardTripletLoss",
    "CSRLoss",
    "CSRReconstructionLoss",
    "CachedGISTEmbedLoss",
    "CachedLoss",
    "CachedMultipleNegativesRankingLoss",
    "CachedMultipleNegativesSymmetricRankingLoss",
    "CachedSpladeLoss",
    "CoSENTLoss",
    "ContrastiveLoss",
    "ContrastiveTensionLoss",
    "ContrastiveTensionLossInBatchNegatives",
    "CosineSimilarityLoss",
    "DenoisingAutoEncoderLoss",
    "DistillKLDivLoss",
    "EmbedDistillLoss",
    "FlopsLoss",
    "GISTEmbedLoss",
    "GlobalOrthogonalRegularizationLoss",
    "MSELoss",
    "MarginMSELoss",
    "Matryoshka2dLoss",
    "MatryoshkaLoss",
    "MegaBatchMarginLoss",
    "MultipleNegativesRankingLoss",
    "MultipleNegativesSymmetricRankingLoss",
    "OnlineContrastiveLoss",
    "SoftmaxLoss",
    "SpladeLoss",
    "TripletLoss",
]
