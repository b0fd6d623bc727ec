"""Tiny encoders with random weights of each family that runs without padding, and batches for them."""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    DistilBertModel,
    ElectraConfig,
    ElectraForSequenceClassification,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertModel,
    MPNetConfig,
    MPNetForMaskedLM,
    MPNetForSequenceClassification,
    MPNetModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

POSITIONS, WINDOW = 600, 16
SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
BERT_LIKE = SIZES | {"max_position_embeddings": POSITIONS, "initializer_range": 0.3}
DISTIL = {
    "vocab_size": 50,
    "dim": 32,
    "hidden_dim": 64,
    "n_layers": 3,
    "n_heads": 4,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
}
MODERN = SIZES | {"local_attention": WINDOW, "pad_token_id": 1, "initializer_range": 0.3}
MODELS = [
    (XLMRobertaModel, XLMRobertaConfig(**BERT_LIKE)),
    (XLMRobertaForMaskedLM, XLMRobertaConfig(**BERT_LIKE)),
    (XLMRobertaForSequenceClassification, XLMRobertaConfig(**BERT_LIKE)),
    (RobertaForMaskedLM, RobertaConfig(**BERT_LIKE)),
    (RobertaForSequenceClassification, RobertaConfig(**BERT_LIKE)),
    (MPNetModel, MPNetConfig(**BERT_LIKE)),
    (MPNetForMaskedLM, MPNetConfig(**BERT_LIKE)),
    (MPNetForSequenceClassification, MPNetConfig(**BERT_LIKE)),
    (DistilBertModel, DistilBertConfig(**DISTIL)),
    (DistilBertForMaskedLM, DistilBertConfig(**DISTIL)),
    (DistilBertForSequenceClassification, DistilBertConfig(**DISTIL)),
    (DistilBertModel, DistilBertConfig(**DISTIL, sinusoidal_pos_embds=True, activation="relu")),
    (ModernBertModel, ModernBertConfig(**MODERN)),
    (ModernBertForMaskedLM, ModernBertConfig(**MODERN)),
    (ModernBertForSequenceClassification, ModernBertConfig(**MODERN, classifier_pooling="mean")),
    (ModernBertForSequenceClassification, ModernBertConfig(**MODERN, classifier_pooling="cls")),
    (BertModel, BertConfig(**BERT_LIKE)),
    (BertForMaskedLM, BertConfig(**BERT_LIKE)),
    (BertForSequenceClassification, BertConfig(**BERT_LIKE)),
    (ElectraForSequenceClassification, ElectraConfig(**BERT_LIKE)),
]
NAMES = [f"{model.__name__}-{at}" for at, (model, _) in enumerate(MODELS)]
LENGTHS = {
    "mixed": [5, 1, 40, 40, 17, 2],
    "one-token": [1, 1, 1],
    "one-text": [23],
    "equal": [33] * 4,
    "long": [300, 3, 180],
    "many": [70] * 9 + [11, 12],
}


def made(model: Any, config: Any) -> Any:
    torch.manual_seed(0)
    plain = model(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.dim() > 1 and "relative_attention_bias" in name:
                parameter.mul_(5)
    return plain


def features_of(lengths: list[int]) -> dict[str, Tensor]:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(2, 50, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.where(mask, 1), "attention_mask": mask.long()}


def output(model: Any, features: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        found = model(**features, return_dict=True)
    values: Tensor = found.last_hidden_state if "last_hidden_state" in found else found.logits
    return values[features["attention_mask"].bool()] if values.dim() == 3 else values
