"""Output of a masked-language-model head before its last layer."""

from typing import NamedTuple

from torch import Tensor


class VocabularyLogits(NamedTuple):
    """Input and weights of the last layer of a masked-language-model head.

    The pooling multiplies them a few terms at a time, so that the full logits never exist.

    Parameters
    ----------
    hidden
        [texts, tokens, width], input of the last layer.
    weight, bias
        [vocabulary, width] and [vocabulary].
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
