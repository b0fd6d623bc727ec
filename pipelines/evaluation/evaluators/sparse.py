"""Evaluators of sparse encoders under sentence-transformers' names, with its order of arguments.

They equal the evaluators of dense encoders, except that `max_active_dims` takes the position of the arguments that do
not apply to sparse encoders.
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

_DENSE_ONLY = ("truncate_dim", "precision")


def _with_sparse_argument_order(kind: Kind) -> Kind:
    """Replace the dense-only arguments of the constructor by `max_active_dims`, in their position."""
    changed: Any = kind
    init = changed.__init__
    own = [one for name, one in signature(init).parameters.items() if name not in ("max_active_dims", *_DENSE_ONLY)]
    names = list(signature(init).parameters)
    place = min(names.index(name) for name in _DENSE_ONLY if name in names)
    own.insert(
        place, Parameter("max_active_dims", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=int | None)
    )
    order = Signature(own)

    def sparse_init(*arguments: Any, **options: Any) -> None:
        init(**order.bind(*arguments, **options).arguments)

    sparse_init.__signature__ = order  # type: ignore[attr-defined]
    changed.__init__ = sparse_init
    return kind


@_with_sparse_argument_order
class SparseBinaryClassificationEvaluator(BinaryClassificationEvaluator):
    """See `BinaryClassificationEvaluator`."""


@_with_sparse_argument_order
class SparseEmbeddingSimilarityEvaluator(EmbeddingSimilarityEvaluator):
    """See `EmbeddingSimilarityEvaluator`."""


@_with_sparse_argument_order
class SparseInformationRetrievalEvaluator(InformationRetrievalEvaluator):
    """See `InformationRetrievalEvaluator`."""


@_with_sparse_argument_order
class SparseMSEEvaluator(MSEEvaluator):
    """See `MSEEvaluator`."""


@_with_sparse_argument_order
class SparseNanoBEIREvaluator(NanoBEIREvaluator):
    """See `NanoBEIREvaluator`."""


@_with_sparse_argument_order
class SparseRerankingEvaluator(RerankingEvaluator):
    """See `RerankingEvaluator`."""


@_with_sparse_argument_order
class SparseTranslationEvaluator(TranslationEvaluator):
    """See `TranslationEvaluator`."""


@_with_sparse_argument_order
class SparseTripletEvaluator(TripletEvaluator):
    """See `TripletEvaluator`."""
