import json

import numpy as np
import pytest
import torch

from indexing.errors import InputError, ModelError
from retrieve.encoders import CrossEncoder

PAIRS = [
    ("the price of water", "water is in the market"),
    ("energy", ""),
    ("", ""),
    ("heat", "fire " * 60),
    ("light wave " * 30, "fire " * 60),
    ("energy", "the cell"),
]


def load(path, **options):
    return CrossEncoder(path, dtype="float32", **options)


def test_one_label_gives_one_score_a_pair_between_0_and_1(cross):
    scores = load(cross).predict(PAIRS)

    assert scores.dtype == np.float32 and scores.shape == (len(PAIRS),)
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores.round(6))) == len(PAIRS)


def test_several_labels_give_a_row_of_logits_a_pair(three_labels):
    encoder = load(three_labels)

    scores = encoder.predict(PAIRS)

    assert scores.shape == (len(PAIRS), 3) == (len(PAIRS), encoder.labels)
    assert scores.min() < 0
    with pytest.raises(InputError, match="3"):
        encoder.rank("a", ["b"])


def test_order_and_batches_change_nothing_but_rounding(cross):
    encoder = load(cross)
    scores = encoder.predict(PAIRS)

    np.testing.assert_allclose(encoder.predict(PAIRS[::-1])[::-1], scores, atol=1e-5)
    np.testing.assert_allclose(encoder.predict(iter(PAIRS), token_budget=1), scores, atol=1e-5)
    np.testing.assert_allclose(encoder.predict([list(pair) for pair in PAIRS]), scores, atol=1e-5)
    np.testing.assert_allclose([encoder.predict(pair) for pair in PAIRS], scores, atol=1e-5)
    assert encoder.predict([]).shape == (0,)


def test_the_order_of_a_pair_matters(cross):
    encoder = load(cross)

    forward, backward = encoder.predict([("water", "fire"), ("fire", "water")])

    assert abs(forward - backward) > 1e-4


def test_rank_orders_documents_by_their_score(cross):
    encoder = load(cross)
    documents = [document for _, document in PAIRS]

    ranking = encoder.rank("energy", documents)

    scores = encoder.predict([("energy", document) for document in documents])
    assert [hit["corpus_id"] for hit in ranking] == np.argsort(-scores, kind="stable").tolist()
    assert [hit["score"] for hit in ranking] == sorted(scores.tolist(), reverse=True)
    assert encoder.rank("energy", documents, top_k=2) == ranking[:2]
    assert encoder.rank("energy", []) == []


def test_equal_documents_keep_their_order(cross):
    ranking = load(cross).rank("energy", ["fire", "fire", "fire"])

    assert [hit["corpus_id"] for hit in ranking] == [0, 1, 2]


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
        ("config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.linear.Identity"}),
    ],
)
def test_the_checkpoints_own_activation_is_used(cross, file, settings):
    logits = load(cross, activation=torch.nn.Identity()).predict(PAIRS)
    path = cross / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | settings))

    np.testing.assert_allclose(load(cross).predict(PAIRS), logits, atol=1e-6)
    assert not ((logits > 0) & (logits < 1)).all()


@pytest.mark.parametrize("name", ["os.system", "torch.hub.load", "torch.nn.init.zeros_", "torch.nn.NoSuch"])
def test_an_activation_that_is_not_a_torch_module_is_refused(cross, name):
    config = json.loads((cross / "config.json").read_text())
    (cross / "config.json").write_text(json.dumps(config | {"sentence_transformers": {"activation_fn": name}}))

    with pytest.raises(ModelError, match=f"activation '{name}'.*not one of torch.nn"):
        load(cross)
    load(cross, activation=torch.nn.Identity()).predict(PAIRS)


@pytest.mark.parametrize("bad", ["ab", ("a",), ("a", None), ("a", "b", "c"), None])
def test_the_error_for_an_item_that_is_not_a_pair_has_its_position(cross, bad):
    with pytest.raises(InputError, match="pair number 1 "):
        load(cross).predict([("a", "b"), bad])
