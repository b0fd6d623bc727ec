"""Softmax: classify a pair of texts by a linear layer over both vectors.

References
----------
Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indexing.errors import InputError
from indexing.inputs import whole_number
from pipelines.training.losses.base import EmbeddingLoss, check_columns, row_labels


class SoftmaxLoss(EmbeddingLoss):
    """The cross-entropy of the class of (text, text), from a linear layer over their vectors u and v.

    The layer is trained with the model and is not saved with it.

    Parameters
    ----------
    embedding_dimension
        Width of the vectors; by default the encoder's.
    num_labels
        Number of classes.
    concatenation_sent_rep, concatenation_sent_difference, concatenation_sent_multiplication
        Give the layer u and v, the absolute difference of u and v, their product.
    """

    def __init__(
        self,
        model: Any,
        embedding_dimension: int | None = None,
        num_labels: int | None = None,
        concatenation_sent_rep: bool = True,
        concatenation_sent_difference: bool = True,
        concatenation_sent_multiplication: bool = False,
    ) -> None:
        super().__init__(model)
        if num_labels is None:
            raise InputError("SoftmaxLoss needs the number of classes: set num_labels (--loss-option num_labels=3)")
        self.num_labels = whole_number(num_labels, "num_labels")
        self.concatenation_sent_rep = concatenation_sent_rep
        self.concatenation_sent_difference = concatenation_sent_difference
        self.concatenation_sent_multiplication = concatenation_sent_multiplication
        count = 2 * concatenation_sent_rep + concatenation_sent_difference + concatenation_sent_multiplication
        if not count:
            raise InputError("SoftmaxLoss needs one of concatenation_sent_rep, _difference and _multiplication")
        width = model.dimension if embedding_dimension is None else embedding_dimension
        self.classifier = nn.Linear(count * width, num_labels, device=getattr(self.model, "device", None))

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Return the mean over the rows."""
        one, other = check_columns(embeddings, 2, 2, "SoftmaxLoss", "text, text, with the class as the label")
        parts = [one, other] if self.concatenation_sent_rep else []
        parts += [(one - other).abs()] if self.concatenation_sent_difference else []
        parts += [one * other] if self.concatenation_sent_multiplication else []
        classes = row_labels(labels, len(one), "SoftmaxLoss").long()
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.num_labels:
            raise InputError(
                f"SoftmaxLoss has num_labels={self.num_labels}, and the data labels from {int(classes.min())} to "
                f"{int(classes.max())}"
            )
        return F.cross_entropy(self.classifier(torch.cat(parts, dim=1)), classes)
