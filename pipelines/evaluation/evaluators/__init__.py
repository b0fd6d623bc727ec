"""Evaluators with the names, arguments, keys and files of sentence-transformers 6.2: a script changes only imports.

An evaluator for vectors reads dense and sparse encoders alike; the names with "Sparse" are the same classes.
"""

from pipelines.evaluation.evaluators.base import Evaluator, SequentialEvaluator
from pipelines.evaluation.evaluators.binary_classification import BinaryClassificationEvaluator
from pipelines.evaluation.evaluators.cross_encoder import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from pipelines.evaluation.evaluators.embedding_similarity import EmbeddingSimilarityEvaluator
from pipelines.evaluation.evaluators.information_retrieval import InformationRetrievalEvaluator
from pipelines.evaluation.evaluators.label_accuracy import LabelAccuracyEvaluator
from pipelines.evaluation.evaluators.mse import MSEEvaluator
from pipelines.evaluation.evaluators.nano_beir import CrossEncoderNanoBEIREvaluator, NanoBEIREvaluator
from pipelines.evaluation.evaluators.paraphrase_mining import ParaphraseMiningEvaluator
from pipelines.evaluation.evaluators.reciprocal_rank_fusion import ReciprocalRankFusionEvaluator
from pipelines.evaluation.evaluators.reranking import RerankingEvaluator
from pipelines.evaluation.evaluators.translation import TranslationEvaluator
from pipelines.evaluation.evaluators.triplet import TripletEvaluator

SparseBinaryClassificationEvaluator = BinaryClassificationEvaluator
SparseEmbeddingSimilarityEvaluator = EmbeddingSimilarityEvaluator
SparseInformationRetrievalEvaluator = InformationRetrievalEvaluator
SparseMSEEvaluator = MSEEvaluator
SparseNanoBEIREvaluator = NanoBEIREvaluator
SparseRerankingEvaluator = RerankingEvaluator
SparseTranslationEvaluator = TranslationEvaluator
SparseTripletEvaluator = TripletEvaluator

__all__ = [
    "BinaryClassificationEvaluator",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator",
    "EmbeddingSimilarityEvaluator",
    "Evaluator",
    "InformationRetrievalEvaluator",
    "LabelAccuracyEvaluator",
    "MSEEvaluator",
    "NanoBEIREvaluator",
    "ParaphraseMiningEvaluator",
    "ReciprocalRankFusionEvaluator",
    "RerankingEvaluator",
    "SequentialEvaluator",
    "SparseBinaryClassificationEvaluator",
    "SparseEmbeddingSimilarityEvaluator",
    "SparseInformationRetrievalEvaluator",
    "SparseMSEEvaluator",
    "SparseNanoBEIREvaluator",
    "SparseRerankingEvaluator",
    "SparseTranslationEvaluator",
    "SparseTripletEvaluator",
    "TranslationEvaluator",
    "TripletEvaluator",
]
