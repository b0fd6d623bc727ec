"""Initial model for SPLADE: an encoder with a new masked-language-model head.

The head's last layer is tied to the word embeddings, and the layers before it are set to the identity. A token's
weights are then the products of its final vector with the word embeddings: after contrastive training these are high
for the token itself and for words of related meaning, a better start than a head of random weights.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.errors import InputError, ModelError
from retrieve.encoders.modules.tokenizer import save_tokenizer
from retrieve.encoders.saving import write_into

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

logger = logging.getLogger(__name__)

LIFT = 6.0
"""Bias before the head's activation. GELU and ReLU do not change numbers this far above 0, and the following layer norm
removes what is added equally to all dimensions: with this bias the activation has no effect."""

ACTIVE_TERMS = 200
TEXTS_READ = 256


def write_mlm_encoder(
    encoder: "DenseEncoder", texts: Sequence[str], folder: str | Path, *, active_terms: int = ACTIVE_TERMS
) -> Path:
    """Write a BERT encoder with a head as a `BertForMaskedLM` checkpoint.

    The head has dense = I with the bias `LIFT`, a layer norm of weight 1 and bias 0, the word embeddings as decoder,
    and the same negative bias for all terms, at which texts have about `active_terms` terms.

    Parameters
    ----------
    encoder
        An encoder of BERT's architecture, such as all-MiniLM-L6-v2.
    texts
        Texts like those to be encoded; the bias is fitted on the first `TEXTS_READ`.
    folder
        Target folder; existing content is replaced.

    Raises
    ------
    ModelError
        If the encoder is not a BERT, or its activation changes large numbers.
    InputError
        Without texts.
    """
    import torch
    from transformers import BertForMaskedLM

    first: Any = encoder.modules[0]
    model, tokenizer = first.model, first.tokenizer
    if model.config.model_type != "bert":
        raise ModelError(
            f"{encoder.checkpoint.name} is a {model.config.model_type}: a head can be made for BERT encoders only; "
            "choose a checkpoint with a masked-language-model head, such as distilbert-base-uncased"
        )
    if model.config.hidden_act not in ("gelu", "relu", "gelu_new", "silu"):
        raise ModelError(f"{encoder.checkpoint.name}: the activation {model.config.hidden_act!r} is not supported")
    if not texts:
        raise InputError("the bias of the SPLADE head must be fitted on texts, and there are none")
    masked_lm = BertForMaskedLM(model.config)
    masked_lm.bert.load_state_dict(model.state_dict(), strict=False)
    head = masked_lm.cls.predictions
    with torch.no_grad():
        head.transform.dense.weight.copy_(torch.eye(model.config.hidden_size))
        head.transform.dense.bias.fill_(LIFT)
        head.transform.LayerNorm.weight.fill_(1.0)
        head.transform.LayerNorm.bias.zero_()
        head.bias.zero_()
    masked_lm.tie_weights()
    masked_lm.eval()
    bias = -_threshold(masked_lm, first, texts[:TEXTS_READ], active_terms)
    with torch.no_grad():
        head.bias.fill_(bias)
    logger.info("%s: added a head with the bias %.3f", encoder.checkpoint.name, bias)

    def save(staging: Path) -> None:
        masked_lm.save_pretrained(staging)
        save_tokenizer(tokenizer, staging, first.max_length)

    return write_into(Path(folder), save)


def _threshold(masked_lm: Any, first: Any, texts: Sequence[str], active_terms: int) -> float:
    """Return the logit that `active_terms` terms of a text exceed, the median over the texts."""
    import torch

    thresholds = []
    tokens = first.tokenize(list(texts))
    for row in range(len(texts)):
        padded = {name: torch.from_numpy(array) for name, array in tokens.padded(np.array([row])).items()}
        with torch.no_grad():
            largest = masked_lm(**padded).logits[0].max(dim=0).values
        # At most an eighth of the terms, so that small vocabularies stay sparse too.
        thresholds.append(float(largest.topk(max(1, min(active_terms, len(largest) // 8))).values[-1]))
    return float(np.median(thresholds))
