"""Evaluators with the names, arguments, keys and files of sentence-transformers 6.2: scripts change only imports.

Evaluators of embeddings accept dense and sparse encoders; those with "Sparse" in their names differ in the order of
their arguments only.
"""

from pipelines.evaluation.evaluators.base import Evaluator, SequentialEvaluator
from pipelines.evaluation.evaluators.binary_classification import BinaryClassificationEvaluator
from pipelines.evaluation.evaluators.cross_encoder import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from pipelines.evaluation.evaluators.deprecated import (
    CEBinaryAccuracyEvaluator,
    CEBinaryClassificationEvaluator,
    CECorrelationEvaluator,
    CEF1Evaluator,
    CERerankingEvaluator,
    CESoftmaxAccuracyEvaluator,
)
from pipelines.evaluation.evaluators.embedding_similarity import EmbeddingSimilarityEvaluator
from pipelines.evaluation.evaluators.information_retrieval import InformationRetrievalEvaluator
from pipelines.evaluation.evaluators.label_accuracy import LabelAccuracyEvaluator
from pipelines.evaluation.evaluators.mse import MSEEvaluator, MSEEvaluatorFromDataFrame
from pipelines.evaluation.evaluators.multi_vector import (
    MultiVectorDistillationEvaluator,
    MultiVectorInformationRetrievalEvaluator,
    MultiVectorNanoBEIREvaluator,
    MultiVectorRerankingEvaluator,
    MultiVectorTripletEvaluator,
)
from pipelines.evaluation.evaluators.nano_beir import CrossEncoderNanoBEIREvaluator, NanoBEIREvaluator
from pipelines.evaluation.evaluators.paraphrase_mining import ParaphraseMiningEvaluator
from pipelines.evaluation.evaluators.reciprocal_rank_fusion import ReciprocalRankFusionEvaluator
from pipelines.evaluation.evaluators.reranking import RerankingEvaluator
from pipelines.evaluation.evaluators.sparse import (
    SparseBinaryClassificationEvaluator,
    SparseEmbeddingSimilarityEvaluator,
    SparseInformationRetrievalEvaluator,
    SparseMSEEvaluator,
    SparseNanoBEIREvaluator,
    SparseRerankingEvaluator,
    SparseTranslationEvaluator,
    SparseTripletEvaluator,
)
from pipelines.evaluation.evaluators.translation import TranslationEvaluator
from pipelines.evaluation.evaluators.triplet import TripletEvaluator
from retrieve.encoders.similarity import SimilarityFunction

BaseEvaluator = SentenceEvaluator = Evaluator

__all__ = [
    "BaseEvaluator",
    "BinaryClassificationEvaluator",
    "CEBinaryAccuracyEvaluator",
    "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator",
    "CEF1Evaluator",
    "CERerankingEvaluator",
    "CESoftmaxAccuracyEvaluator",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator",
    "EmbeddingSimilarityEvaluator",
    "Evaluator",
    "InformationRetrievalEvaluator",
    "LabelAccuracyEvaluator",
    "MSEEvaluator",
    "MSEEvaluatorFromDataFrame",
    "MultiVectorDistillationEvaluator",
    "MultiVectorInformationRetrievalEvaluator",
    "MultiVectorNanoBEIREvaluator",
    "MultiVectorRerankingEvaluator",
    "MultiVectorTripletEvaluator",
    "NanoBEIREvaluator",
    "ParaphraseMiningEvaluator",
    "ReciprocalRankFusionEvaluator",
    "RerankingEvaluator",
    "SentenceEvaluator",
    "SequentialEvaluator",
    "SimilarityFunction",
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
