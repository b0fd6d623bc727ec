"""Modules of older checkpoints have sentence-transformers' vectors, and are saved so that it reads them."""

from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer import modules as theirs
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

from checkpoints import write_bert
from indexing.errors import ModelError
from retrieve import DenseEncoder

TEXTS = [
    "Water, in the market!",
    "fire",
    "the price of water and the heat of fire is the energy of a wave",
    "unknown",
    "",
]
WORDS = ["PADDING_TOKEN", "water", "fire", "heat", "price", "market", "energy", "Market", "wave"]
WEIGHTS = {"water": 2.0, "fire": 0.5, "market": 1.5}


def words() -> Any:
    weights = torch.randn(len(WORDS), 16, generator=torch.Generator().manual_seed(0))
    weights[0] = 0  # as `from_text_file` writes it
    return theirs.WordEmbeddings(WhitespaceTokenizer(WORDS, stop_words={"the", "of"}), weights)


def transformer(folder: Any, **settings: Any) -> Any:
    return Transformer(str(write_bert(folder, **settings)))


CASES = {
    "WordEmbeddings": lambda folder: [words(), Pooling(16)],
    "WordWeights": lambda folder: [words(), theirs.WordWeights(WORDS, WEIGHTS, 0.7), Pooling(16)],
    "LSTM": lambda folder: [words(), theirs.LSTM(16, 12, num_layers=2), Pooling(24)],
    "CNN": lambda folder: [words(), theirs.CNN(16, 8, [1, 3, 5]), Pooling(24, "max")],
    "BoW": lambda folder: [theirs.BoW(WORDS, WEIGHTS, 0.3)],
    "BoW once": lambda folder: [theirs.BoW(WORDS, WEIGHTS, 0.3, cumulative_term_frequency=False)],
    "LayerNorm": lambda folder: [transformer(folder), Pooling(32), theirs.LayerNorm(32), theirs.Dropout(0.4)],
    "WeightedLayerPooling": lambda folder: [
        transformer(folder, output_hidden_states=True),
        theirs.WeightedLayerPooling(32, num_hidden_layers=2, layer_start=1),
        Pooling(32),
    ],
    "WeightedLayerPooling of one layer": lambda folder: [
        transformer(folder),
        theirs.WeightedLayerPooling(32, num_hidden_layers=2, layer_start=1),
        Pooling(32),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_vectors_and_saving(name: str, tmp_path: Any) -> None:
    torch.manual_seed(1)
    reference = SentenceTransformer(modules=CASES[name](tmp_path / "bert"), device="cpu").eval()
    for parameter in reference[-1].parameters():
        parameter.data += torch.rand(parameter.shape)
    texts = TEXTS if name not in ("CNN",) else TEXTS[:3]
    if name == "WeightedLayerPooling":
        reference[1].layer_weights.data = torch.tensor([0.3, 2.0])
    reference.save(str(tmp_path / "theirs"))
    expected = np.stack([reference.encode(text) for text in texts])
    mine = DenseEncoder(tmp_path / "theirs", dtype="float32")
    assert mine.dimension == expected.shape[1]
    np.testing.assert_allclose(mine.encode(texts), expected, atol=1e-5)
    np.testing.assert_allclose(np.stack([mine.encode(text) for text in texts]), expected, atol=1e-5)
    mine.save(tmp_path / "mine")
    again = SentenceTransformer(str(tmp_path / "mine"), device="cpu")
    np.testing.assert_allclose(np.stack([again.encode(text) for text in texts]), expected, atol=1e-5)


def test_a_tokenizer_of_phrases_is_refused_in_one_line(tmp_path: Any) -> None:
    SentenceTransformer(modules=[words(), Pooling(16)]).save(str(tmp_path / "model"))
    path = next((tmp_path / "model").rglob("wordembedding_config.json"))
    path.write_text(path.read_text("utf-8").replace("WhitespaceTokenizer", "PhraseTokenizer"), "utf-8")
    with pytest.raises(ModelError, match=r"the tokenizer PhraseTokenizer is not read"):
        DenseEncoder(tmp_path / "model")


def test_strides_of_convolutions_are_refused_in_one_line(tmp_path: Any) -> None:
    modules = [words(), theirs.CNN(16, 8, [1, 3], [2, 2]), Pooling(16)]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "model"))
    with pytest.raises(ModelError, match=r"the module CNN is not read with stride_sizes \[2, 2\]"):
        DenseEncoder(tmp_path / "model")
