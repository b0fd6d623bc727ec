"""Evaluators of sparse encoders under sentence-transformers' names, with its order of arguments.

They equal the evaluators of dense encoders, except that `max_active_dims` takes the position of the arguments that do
not apply to sparse encoders.
"""

from inspect import Parameter, Signature, signature
from typing import Any

from pipelines.evaluation.evaluators.binary_classification import BinaryClassificationEvaluator
from pipelines.evaluation.evaluators.embedding_similarity import EmbeddingSimilarityEvaluator
from pipelines.evaluation.evaluators.information_retrieval import InformationRetrievalEvaluator
from pipelines.evaluation.evaluators.mse import MSEEvaluator
from pipelines.evaluation.evaluators.nano_beir import NanoBEIREvaluator
from pipelines.evaluation.evaluators.reranking import RerankingEvaluator
from pipelines.evaluation.evaluators.translation import TranslationEvaluator
from pipelines.evaluation.evaluators.triplet import TripletEvaluator

_DENSE_ONLY = ("truncate_dim", "precision")


class _SparseArguments:
    """Base that replaces the dense-only arguments of a constructor by `max_active_dims`, in their position."""

    def __init_subclass__(cls) -> None:
        init: Any = cls.__init__
        own = [one for name, one in signature(init).parameters.items() if name not in ("max_active_dims", *_DENSE_ONLY)]
        names = list(signature(init).parameters)
        place = min(names.index(name) for name in _DENSE_ONLY if name in names)
        limit = Parameter("max_active_dims", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=int | None)
        order = Signature([*own[:place], limit, *own[place:]])

        def sparse_init(*arguments: Any, **options: Any) -> None:
            init(**order.bind(*arguments, **options).arguments)

        sparse_init.__signature__ = order  # type: ignore[attr-defined]
        cls.__init__ = sparse_init  # type: ignore[method-assign]


class SparseBinaryClassificationEvaluator(_SparseArguments, BinaryClassificationEvaluator):
    """See `BinaryClassificationEvaluator`."""


class SparseEmbeddingSimilarityEvaluator(_SparseArguments, EmbeddingSimilarityEvaluator):
    """See `EmbeddingSimilarityEvaluator`."""


class SparseInformationRetrievalEvaluator(_SparseArguments, InformationRetrievalEvaluator):
    """See `InformationRetrievalEvaluator`."""


class SparseMSEEvaluator(_SparseArguments, MSEEvaluator):
    """See `MSEEvaluator`."""


class SparseNanoBEIREvaluator(_SparseArguments, NanoBEIREvaluator):
    """See `NanoBEIREvaluator`."""


class SparseRerankingEvaluator(_SparseArguments, RerankingEvaluator):
    """See `RerankingEvaluator`."""


class SparseTranslationEvaluator(_SparseArguments, TranslationEvaluator):
    """See `TranslationEvaluator`."""


class SparseTripletEvaluator(_SparseArguments, TripletEvaluator):
    """See `TripletEvaluator`."""
