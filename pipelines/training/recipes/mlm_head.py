"""A masked-language-model head for an encoder that has none, so that SPLADE can begin with it.

The head's last layer is tied to the word embeddings; what stands before it is made to change nothing. A token's weights
are then its final vector's products with the words' own: after contrastive training these name the token and words of
related meaning, a better start than a head of random weights.
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
"""Added before the head's activation. GELU and ReLU leave numbers this far above 0 as they are, and the layer norm
behind them takes away what is added to all dimensions alike: with it the activation changes nothing."""

ACTIVE_TERMS = 200
TEXTS_READ = 256


def write_mlm_start(
    encoder: "DenseEncoder", texts: Sequence[str], folder: str | Path, *, active_terms: int = ACTIVE_TERMS
) -> Path:
    """Write a BERT encoder with a head as a `BertForMaskedLM` checkpoint.

    The head: dense = I with the bias `LIFT`, the layer norm's weight 1 and bias 0, the decoder the word embeddings, and
    a bias below 0, the same for all terms, at which texts have some `active_terms` terms.

    Parameters
    ----------
    encoder
        Of BERT's architecture, as all-MiniLM-L6-v2 is.
    texts
        Such as it will read; the bias is fitted on the first `TEXTS_READ`.
    folder
        Where to; what an older run left there is replaced.

    Raises
    ------
    ModelError
        When the encoder is no BERT, or its activation is none that leaves large numbers as they are.
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
            "name a checkpoint with a masked-language-model head, such as distilbert-base-uncased"
        )
    if model.config.hidden_act not in ("gelu", "relu", "gelu_new", "silu"):
        raise ModelError(f"{encoder.checkpoint.name}: no head is known for the activation {model.config.hidden_act!r}")
    if not texts:
        raise InputError("a start for SPLADE needs texts such as it will read")
    headed = BertForMaskedLM(model.config)
    headed.bert.load_state_dict(model.state_dict(), strict=False)
    head = headed.cls.predictions
    with torch.no_grad():
        head.transform.dense.weight.copy_(torch.eye(model.config.hidden_size))
        head.transform.dense.bias.fill_(LIFT)
        head.transform.LayerNorm.weight.fill_(1.0)
        head.transform.LayerNorm.bias.zero_()
        head.bias.zero_()
    headed.tie_weights()
    headed.eval()
    bias = -_threshold(headed, first, texts[:TEXTS_READ], active_terms)
    with torch.no_grad():
        head.bias.fill_(bias)
    logger.info("%s: a head with the bias %.3f", encoder.checkpoint.name, bias)

    def save(aside: Path) -> None:
        headed.save_pretrained(aside)
        save_tokenizer(tokenizer, aside, first.max_length)

    write_into(Path(folder), save)
    return Path(folder)


def _threshold(headed: Any, first: Any, texts: Sequence[str], active_terms: int) -> float:
    """Give the logit that `active_terms` terms of a text pass, the median over the texts."""
    import torch

    found = []
    tokens = first.tokenize(list(texts))
    for row in range(len(texts)):
        padded = {name: torch.from_numpy(array) for name, array in tokens.padded(np.array([row])).items()}
        with torch.no_grad():
            largest = headed(**padded).logits[0].max(dim=0).values
        # Of a small vocabulary so many terms would be no few.
        found.append(float(largest.topk(max(1, min(active_terms, len(largest) // 8))).values[-1]))
    return float(np.median(found))
