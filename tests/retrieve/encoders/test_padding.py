"""Scores of a cross-encoder on a decoder do not depend on the batch, whatever names its padding."""

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast, LlamaForSequenceClassification

from checkpoints import llama_config, write_bert
from retrieve.encoders import CrossEncoder

PAIRS = [("water", "a"), ("the energy of a wave", "it is the price of water"), ("a", ""), ("heat", "fire and light")]


@pytest.mark.parametrize(
    ("pad_token", "pad_id", "eos_id"),
    [
        (None, 2, None),
        ("[UNK]", 3, None),
        ("[MASK]", None, None),
        (None, None, 4),
        (None, None, [4, 3]),
        (None, -1, 4),
        (None, None, None),
    ],
)
@pytest.mark.parametrize("side", ["right", "left"])
def test_scores_in_a_batch_equal_those_of_each_pair_alone(tmp_path, pad_token, pad_id, eos_id, side):
    write_bert(tmp_path)
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=40, padding_side=side)
    tokenizer.pad_token = pad_token
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(3)
    config = llama_config(tokenizer, num_labels=1, bos_token_id=None, eos_token_id=eos_id, pad_token_id=2)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        text.replace('"pad_token_id": 2', f'"pad_token_id": {pad_id}'.replace("None", "null"))
    )

    encoder = CrossEncoder(tmp_path, dtype="float32")
    scores = encoder.predict(PAIRS)

    np.testing.assert_allclose(scores, [encoder.predict(pair) for pair in PAIRS], atol=1e-5)
    assert encoder.input.model.config.pad_token_id == encoder.input.pad_id
    assert len(set(scores)) == len(PAIRS)
