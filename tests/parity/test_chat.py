"""Scores and vectors of models with chat templates equal those of sentence-transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers as theirs
from transformers import BertForSequenceClassification

from checkpoints import WORDS, write_bert, write_decoder, write_json
from retrieve.encoders import CrossEncoder, DenseEncoder

FLAT = (
    "{% for message in messages %}of {{ message['role'] }} : {{ message['content'] }} . {% endfor %}"
    "is it{% if loud %} fire{% endif %} ?"
)
PARTS = "{% for message in messages %}{{ message['role'] }} : {{ message.content[0].text }} ; {% endfor %}yes or no"
TEXTS = [
    "",
    "water",
    "naïve café 日本語 😀",
    "a stock's price",
    "the energy of a wave " * 30,
    *(" ".join(WORDS[(at * 7 + word) % len(WORDS)] for word in range(at)) for at in range(1, 12)),
]
PAIRS = [(query, text) for query in ("light", "the energy of a wave", "heat " * 30) for text in TEXTS]


def equal(ours, reference) -> None:
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-5)


def load(kind, folder, **options):
    return kind(folder, dtype="float32", device="cpu", **options)


def with_template(folder: Path, template: str, *, max_length: int = 60) -> str:
    (folder / "chat_template.jinja").write_text(template)
    config = folder / "tokenizer_config.json"
    write_json(config, json.loads(config.read_text()) | {"model_max_length": max_length})
    return str(folder)


@pytest.mark.parametrize("template", [FLAT, PARTS], ids=["flat", "parts"])
@pytest.mark.parametrize("layout", ["bare", "saved"])
def test_a_language_model_that_scores_pairs(tmp_path, template, layout):
    path = with_template(write_decoder(tmp_path / "decoder"), template)
    reference = theirs.CrossEncoder(path, device="cpu", prompts={"about": "the price"})
    if layout == "saved":
        path = str(tmp_path / "saved")
        reference.save(path)

    ours = load(CrossEncoder, path)

    assert ours.max_length == reference.max_seq_length == 60
    equal(ours.predict(PAIRS), reference.predict(PAIRS))
    equal(ours.predict(PAIRS, prompt="is it in"), reference.predict(PAIRS, prompt="is it in"))
    plain = load(CrossEncoder, write_decoder(tmp_path / "plain"), max_length=60)
    assert abs(ours.predict(PAIRS) - plain.predict(PAIRS)).max() > 1e-2


def test_a_template_longer_than_the_model_reads(tmp_path):
    path = with_template(write_decoder(tmp_path / "decoder"), FLAT + " the market" * 6, max_length=10)

    equal(load(CrossEncoder, path).predict(PAIRS), theirs.CrossEncoder(path, device="cpu").predict(PAIRS))


def test_a_classifier_whose_tokenizer_has_a_template(tmp_path):
    folder = write_bert(tmp_path / "cross", BertForSequenceClassification, num_labels=1)
    path = with_template(folder, FLAT, max_length=40)

    equal(load(CrossEncoder, path).predict(PAIRS), theirs.CrossEncoder(path, device="cpu").predict(PAIRS))


@pytest.mark.parametrize("template", [FLAT, PARTS], ids=["flat", "parts"])
def test_a_decoder_that_makes_vectors(tmp_path, template):
    path = with_template(write_decoder(tmp_path / "decoder"), template)
    reference = theirs.SentenceTransformer(path, device="cpu", prompts={"query": "the market"})
    reference.save(str(tmp_path / "saved"))

    equal(load(DenseEncoder, path).encode(TEXTS), reference.encode(TEXTS))
    ours = load(DenseEncoder, tmp_path / "saved")
    equal(ours.encode(TEXTS), reference.encode(TEXTS))
    equal(ours.encode_query(TEXTS), reference.encode_query(TEXTS))


def test_an_older_layout_reads_texts_as_they_stand(tmp_path):
    path = with_template(write_decoder(tmp_path / "decoder"), FLAT)
    theirs.SentenceTransformer(path, device="cpu").save(str(tmp_path / "saved"))
    write_json(tmp_path / "saved" / "sentence_bert_config.json", {"max_seq_length": 60, "do_lower_case": False})
    reference = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu")

    ours = load(DenseEncoder, tmp_path / "saved")

    equal(ours.encode(TEXTS), reference.encode(TEXTS))
    assert abs(ours.encode(TEXTS) - load(DenseEncoder, path).encode(TEXTS)).max() > 1e-3


def test_arguments_for_the_template_are_stored_with_the_model(tmp_path):
    path = with_template(write_decoder(tmp_path / "decoder"), FLAT)
    quiet = theirs.CrossEncoder(path, device="cpu")
    scores = quiet.predict(PAIRS)
    quiet[0].processing_kwargs = {"chat_template": {"loud": True}}
    quiet.save(str(tmp_path / "saved"))
    loud = theirs.CrossEncoder(str(tmp_path / "saved"), device="cpu")

    ours = load(CrossEncoder, tmp_path / "saved")

    equal(ours.predict(PAIRS), loud.predict(PAIRS))
    assert abs(ours.predict(PAIRS) - scores).max() > 1e-3


@pytest.mark.parametrize("kind", ["cross", "dense"])
def test_what_is_saved_here_is_read_there(tmp_path, kind):
    path = with_template(write_decoder(tmp_path / "decoder"), PARTS)
    ours = load(CrossEncoder if kind == "cross" else DenseEncoder, path)
    run = ours.predict if kind == "cross" else ours.encode
    inputs = PAIRS if kind == "cross" else TEXTS

    ours.save(tmp_path / "ours")

    reference = (theirs.CrossEncoder if kind == "cross" else theirs.SentenceTransformer)(
        str(tmp_path / "ours"), device="cpu"
    )
    equal((reference.predict if kind == "cross" else reference.encode)(inputs), run(inputs))
    again = load(type(ours), tmp_path / "ours")
    equal((again.predict if kind == "cross" else again.encode)(inputs), run(inputs))
