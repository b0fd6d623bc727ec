"""Evaluators of cross-encoders under their names before sentence-transformers 4, which warn with the new names."""

import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Self, TypeVar

from pipelines.evaluation.evaluators.cross_encoder import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
    pairs_of,
)

Kind = TypeVar("Kind", bound=type)


def old_name_of(new: type) -> Callable[[Kind], Kind]:
    """Return a class decorator that warns, on construction, that the class is now called `new`."""

    def decorated(old: Kind) -> Kind:
        kind: Any = old
        made = kind.__init__

        @wraps(made)
        def warned(self: Any, *arguments: Any, **options: Any) -> None:
            message = f"{old.__name__} is an old name: write {new.__name__} instead"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            made(self, *arguments, **options)

        kind.__init__ = warned
        return old

    return decorated


class _FromExamples(CrossEncoderClassificationEvaluator):
    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> Self:
        """Create an evaluator from objects with two ``texts`` and a ``label``."""
        return cls(*pairs_of(examples), **options)


@old_name_of(CrossEncoderClassificationEvaluator)
class CEBinaryAccuracyEvaluator(_FromExamples):
    """See `CrossEncoderClassificationEvaluator`."""


@old_name_of(CrossEncoderClassificationEvaluator)
class CEBinaryClassificationEvaluator(_FromExamples):
    """See `CrossEncoderClassificationEvaluator`."""


@old_name_of(CrossEncoderClassificationEvaluator)
class CEF1Evaluator(_FromExamples):
    """See `CrossEncoderClassificationEvaluator`."""


@old_name_of(CrossEncoderClassificationEvaluator)
class CESoftmaxAccuracyEvaluator(_FromExamples):
    """See `CrossEncoderClassificationEvaluator`."""


@old_name_of(CrossEncoderCorrelationEvaluator)
class CECorrelationEvaluator(CrossEncoderCorrelationEvaluator):
    """See `CrossEncoderCorrelationEvaluator`."""


@old_name_of(CrossEncoderRerankingEvaluator)
class CERerankingEvaluator(CrossEncoderRerankingEvaluator):
    """See `CrossEncoderRerankingEvaluator`."""
