"""Evaluators of cross-encoders under their names before sentence-transformers 4."""

from collections.abc import Iterable
from typing import Any, Self

from pipelines.evaluation.evaluators.cross_encoder import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
    pairs_of,
)
from pipelines.evaluation.evaluators.deprecation import old_name_of


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
