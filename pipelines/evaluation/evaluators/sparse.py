"""Evaluators by the names that sentence-transformers has for sparse encoders, with its order of arguments.

They are the evaluators of vectors, which read both kinds; only where `max_active_dims` stands among the arguments
differs: in the place of what a sparse encoder has no use for.
"""

from inspect import Parameter, Signature, signature
from typing import Any, TypeVar

from pipelines.evaluation.evaluators.binary_classification import BinaryClassificationEvaluator
from pipelines.evaluation.evaluators.embedding_similarity import EmbeddingSimilarityEvaluator
from pipelines.evaluation.evaluators.information_retrieval import InformationRetrievalEvaluator
from pipelines.evaluation.evaluators.mse import MSEEvaluator
from pipelines.evaluation.evaluators.nano_beir import NanoBEIREvaluator
from pipelines.evaluation.evaluators.reranking import RerankingEvaluator
from pipelines.evaluation.evaluators.translation import TranslationEvaluator
from pipelines.evaluation.evaluators.triplet import TripletEvaluator

Kind = TypeVar("Kind", bound=type)

_OF_DENSE = ("truncate_dim", "precision")


def _with_order_of_sparse(kind: Kind) -> Kind:
    """Give a subclass's constructor its base's arguments, `max_active_dims` in the place of those of dense vectors."""
    changed: Any = kind
    made = changed.__init__
    own = [one for name, one in signature(made).parameters.items() if name not in ("max_active_dims", *_OF_DENSE)]
    names = list(signature(made).parameters)
    place = min(names.index(name) for name in _OF_DENSE if name in names)
    own.insert(
        place, Parameter("max_active_dims", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=int | None)
    )
    order = Signature(own)

    def of_sparse(*arguments: Any, **options: Any) -> None:
        made(**order.bind(*arguments, **options).arguments)

    of_sparse.__signature__ = order  # type: ignore[attr-defined]
    changed.__init__ = of_sparse
    return kind


@_with_order_of_sparse
class SparseBinaryClassificationEvaluator(BinaryClassificationEvaluator):
    """See `BinaryClassificationEvaluator`."""


@_with_order_of_sparse
class SparseEmbeddingSimilarityEvaluator(EmbeddingSimilarityEvaluator):
    """See `EmbeddingSimilarityEvaluator`."""


@_with_order_of_sparse
class SparseInformationRetrievalEvaluator(InformationRetrievalEvaluator):
    """See `InformationRetrievalEvaluator`."""


@_with_order_of_sparse
class SparseMSEEvaluator(MSEEvaluator):
    """See `MSEEvaluator`."""


@_with_order_of_sparse
class SparseNanoBEIREvaluator(NanoBEIREvaluator):
    """See `NanoBEIREvaluator`."""


@_with_order_of_sparse
class SparseRerankingEvaluator(RerankingEvaluator):
    """See `RerankingEvaluator`."""


@_with_order_of_sparse
class SparseTranslationEvaluator(TranslationEvaluator):
    """See `TranslationEvaluator`."""


@_with_order_of_sparse
class SparseTripletEvaluator(TripletEvaluator):
    """See `TripletEvaluator`."""
