"""Custom code of a checkpoint never runs by default, and runs if it is trusted."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, BertForSequenceClassification, BertModel

from checkpoints import write_bert, write_json
from indexing.errors import ModelError
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

MODEL = """
from pathlib import Path
from transformers import BertConfig, BertModel, BertForMaskedLM, BertForSequenceClassification
Path({mark!r}).touch()

class OwnConfig(BertConfig):
    model_type = "acme-own"

class OwnModel(BertModel):
    config_class = OwnConfig

class OwnMaskedModel(BertForMaskedLM):
    config_class = OwnConfig

class OwnClassifier(BertForSequenceClassification):
    config_class = OwnConfig
"""
MODULE = """
from pathlib import Path
import torch
Path({mark!r}).touch()

class Halve(torch.nn.Module):
    @classmethod
    def load(cls, folder):
        return cls()

    def forward(self, features):
        half = features["sentence_embedding"].shape[1] // 2
        features["sentence_embedding"] = features["sentence_embedding"][:, :half] * 2
        return features

    def get_embedding_dimension(self):
        return 16
"""
TEXTS = ["", "water", "the energy of a wave"]
AUTO = {
    "AutoConfig": "modeling_own.OwnConfig",
    "AutoModel": "modeling_own.OwnModel",
    "AutoModelForMaskedLM": "modeling_own.OwnMaskedModel",
    "AutoModelForSequenceClassification": "modeling_own.OwnClassifier",
}


@pytest.fixture(autouse=True)
def _code_cache(tmp_path, monkeypatch):
    """Keep transformers' cache of trusted code in the test's folder."""
    home = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(home))
    monkeypatch.syspath_prepend(str(home))


def own(folder: Path, architecture: type = BertModel, **settings) -> Path:
    """Write a BERT with a custom architecture, whose code creates the file `ran` when it runs."""
    write_bert(folder, architecture, **settings)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"model_type": "acme-own", "auto_map": AUTO})
    (folder / "modeling_own.py").write_text(MODEL.format(mark=str(folder / "ran")))
    return folder


@pytest.mark.parametrize("kind", [DenseEncoder, SparseEncoder, CrossEncoder])
def test_a_custom_architecture_is_named_in_the_error_and_not_run(tmp_path, kind):
    folder = own(tmp_path / "own")

    with pytest.raises(ModelError, match=r"modeling_own\.OwnModel.*trust_remote_code=True"):
        kind(folder, dtype="float32")

    assert not (folder / "ran").exists()


def test_a_trusted_architecture_is_run(tmp_path):
    folder = own(tmp_path / "own")

    vectors = DenseEncoder(folder, dtype="float32", trust_remote_code=True).encode(TEXTS)

    assert (folder / "ran").exists()
    plain = write_bert(tmp_path / "plain")
    np.testing.assert_allclose(vectors, DenseEncoder(plain, dtype="float32").encode(TEXTS), atol=1e-6)


def test_a_trusted_cross_encoder_is_run(tmp_path):
    pairs = [("water", text) for text in TEXTS]
    folder = own(tmp_path / "own", BertForSequenceClassification, num_labels=1)
    plain = write_bert(tmp_path / "plain", BertForSequenceClassification, num_labels=1)

    scores = CrossEncoder(folder, dtype="float32", trust_remote_code=True).predict(pairs)

    np.testing.assert_allclose(scores, CrossEncoder(plain, dtype="float32").predict(pairs), atol=1e-6)


def test_an_architecture_that_transformers_knows_needs_no_code_but_a_warning(tmp_path, caplog):
    folder = own(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"model_type": BertConfig.model_type})

    with caplog.at_level(logging.WARNING):
        DenseEncoder(folder, dtype="float32")

    assert "modeling_own.OwnModel" in caplog.text and "trust_remote_code" in caplog.text
    assert not (folder / "ran").exists()


@pytest.fixture
def halving(make_dense) -> Path:
    """Dense checkpoint whose last module is custom code."""
    folder = make_dense(normalize=False)
    entries = json.loads((folder / "modules.json").read_text())
    entries.append({"idx": 2, "name": "2", "path": "2_Halve", "type": "halving.Halve"})
    write_json(folder / "modules.json", entries)
    (folder / "2_Halve").mkdir()
    (folder / "halving.py").write_text(MODULE.format(mark=str(folder / "ran")))
    return folder


def test_a_custom_module_is_named_in_the_error_and_not_run(halving):
    with pytest.raises(ModelError, match=r"modules\.json: the module 'halving\.Halve' .*trust_remote_code=True"):
        DenseEncoder(halving, dtype="float32")

    assert not (halving / "ran").exists()


def test_a_custom_module_with_the_name_of_a_known_one_is_still_custom(halving):
    entries = json.loads((halving / "modules.json").read_text())
    entries[0]["type"] = "custom_st.Transformer"
    write_json(halving / "modules.json", entries)

    with pytest.raises(ModelError, match=r"'custom_st\.Transformer'"):
        DenseEncoder(halving, dtype="float32")


def test_a_trusted_module_is_run(halving, tmp_path):
    encoder = DenseEncoder(halving, dtype="float32", trust_remote_code=True)

    vectors = encoder.encode(TEXTS)

    assert (halving / "ran").exists()
    assert encoder.dimension == 16 and encoder.identity["modules"][-1] == {
        "type": "Custom",
        "reference": "halving.Halve",
    }
    entries = json.loads((halving / "modules.json").read_text())
    write_json(halving / "modules.json", entries[:2])
    np.testing.assert_allclose(vectors, 2 * DenseEncoder(halving, dtype="float32").encode(TEXTS)[:, :16], atol=1e-6)
    with pytest.raises(ModelError, match=r"'halving\.Halve' .* not saved"):
        encoder.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_code_that_fails_is_an_error_that_names_it(halving):
    (halving / "halving.py").write_text("raise RuntimeError('out of order')")

    with pytest.raises(ModelError, match=r"'halving\.Halve' cannot be imported \(out of order\)"):
        DenseEncoder(halving, dtype="float32", trust_remote_code=True)


def test_a_custom_first_module_is_an_error_even_if_trusted(halving):
    entries = json.loads((halving / "modules.json").read_text())
    write_json(halving / "modules.json", entries[::-1])

    with pytest.raises(ModelError, match=r"first module 'halving\.Halve'"):
        DenseEncoder(halving, dtype="float32", trust_remote_code=True)
