"""BibTeX entries of the papers behind losses."""

import re
from collections.abc import Iterable
from pathlib import Path

_SENTENCE_BERT = "reimers-2019-sentence-bert"
_PAPERS = {
    "MultipleNegativesRankingLoss": ("henderson-2017-smart-reply",),
    "MultipleNegativesSymmetricRankingLoss": ("henderson-2017-smart-reply",),
    "CachedMultipleNegativesRankingLoss": ("henderson-2017-smart-reply", "gao-2021-grad-cache"),
    "CachedMultipleNegativesSymmetricRankingLoss": ("henderson-2017-smart-reply", "gao-2021-grad-cache"),
    "CachedLoss": ("gao-2021-grad-cache",),
    "CachedSpladeLoss": ("gao-2021-grad-cache",),
    "GISTEmbedLoss": ("solatorio-2024-gistembed",),
    "CachedGISTEmbedLoss": ("solatorio-2024-gistembed", "gao-2021-grad-cache"),
    "CoSENTLoss": ("su-2022-cosent",),
    "AnglELoss": ("li-2023-angle",),
    "ContrastiveLoss": ("hadsell-2006-contrastive",),
    "OnlineContrastiveLoss": ("hadsell-2006-contrastive",),
    "TripletLoss": ("hermans-2017-triplet",),
    "BatchAllTripletLoss": ("hermans-2017-triplet",),
    "BatchHardTripletLoss": ("hermans-2017-triplet",),
    "BatchSemiHardTripletLoss": ("hermans-2017-triplet",),
    "BatchHardSoftMarginTripletLoss": ("hermans-2017-triplet",),
    "MarginMSELoss": ("hofstaetter-2020-margin-mse",),
    "DistillKLDivLoss": ("lin-2020-tct-colbert",),
    "MultiVectorMultipleNegativesRankingLoss": ("khattab-2020-colbert", "henderson-2017-smart-reply"),
    "CachedMultiVectorMultipleNegativesRankingLoss": ("khattab-2020-colbert", "gao-2021-grad-cache"),
    "MultiVectorMarginMSELoss": ("khattab-2020-colbert", "hofstaetter-2020-margin-mse"),
    "MultiVectorDistillKLDivLoss": ("khattab-2020-colbert", "santhanam-2022-colbertv2"),
    "DenoisingAutoEncoderLoss": ("wang-2021-tsdae",),
    "ContrastiveTensionLoss": ("carlsson-2021-tension",),
    "ContrastiveTensionLossInBatchNegatives": ("carlsson-2021-tension",),
    "EmbedDistillLoss": ("kim-2023-embeddistill",),
    "GlobalOrthogonalRegularizationLoss": ("zhang-2017-spread-out",),
    "MegaBatchMarginLoss": ("wieting-2018-paranmt", "gao-2021-grad-cache"),
    "CSRReconstructionLoss": ("wen-2025-csr",),
    "FlopsLoss": ("paria-2020-flops",),
    "MatryoshkaLoss": ("kusupati-2022-matryoshka",),
    "Matryoshka2dLoss": ("kusupati-2022-matryoshka",),
    "SpladeLoss": ("formal-2021-splade-v2", "paria-2020-flops"),
    "CSRLoss": ("wen-2025-csr",),
    "LambdaLoss": ("wang-2018-lambdaloss",),
    "RankNetLoss": ("burges-2005-ranknet",),
    "ListNetLoss": ("cao-2007-listnet",),
    "ListMLELoss": ("xia-2008-listmle",),
    "PListMLELoss": ("xia-2008-listmle", "lan-2014-plistmle"),
}
"""Keys of the papers in ``citations.bib``, by the name of the loss."""


def citations(losses: Iterable[str]) -> list[str]:
    """Return the BibTeX entries of Sentence-BERT and of the named losses, without duplicates."""
    text = Path(__file__).with_suffix(".bib").read_text("utf-8")
    entries = {re.split("[{,]", entry)[1]: entry for entry in text.strip().split("\n\n")}
    keys = dict.fromkeys([_SENTENCE_BERT, *(key for name in losses for key in _PAPERS.get(name, ()))])
    return [entries[key] for key in keys]
