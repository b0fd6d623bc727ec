"""PEFT adapters beside transformers with peft and sentence-transformers: equal vectors, saved there and loaded here."""

from typing import Any

import httpx
import numpy as np
import pytest
import torch
from late_interaction import write_colbert
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import MultiVectorEncoder as TheirMultiVector
from sentence_transformers import SentenceTransformer
from sentence_transformers import SparseEncoder as TheirSparse
from transformers import AutoModel, BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert
from indexing.errors import InputError, ModelError
from indexing.token_vectors import TokenVectors
from pipelines.service.config import ModelEntry, ServeConfig
from retrieve import CrossEncoder, DenseEncoder, MultiVectorEncoder, SparseEncoder
from service_tests import serving

TEXTS = ["water in the market", "fire", "heat is a wave of energy and light in the market"]


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": ["query", "value", "dense"]} | settings))


def randomize(model: Any, seed: int = 0) -> None:
    """Give the adapters random weights: new ones change nothing."""
    numbers = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=numbers) * 0.2


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(write_bert(tmp_path_factory.mktemp("adapters") / "base"))


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory) -> list[str]:
    """Two adapter-only folders of the base model, as peft writes them."""
    folders = []
    for seed in (1, 2):
        model = get_peft_model(AutoModel.from_pretrained(base), lora(r=2 * seed))
        randomize(model, seed)
        folders.append(str(tmp_path_factory.mktemp("adapters") / f"adapter{seed}"))
        model.save_pretrained(folders[-1])
    return folders


def mean(model: Any, encoder: DenseEncoder) -> np.ndarray:
    """Return mean-pooled vectors of a transformers model."""
    rows = []
    for text in TEXTS:
        inputs = encoder.engine.input.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**inputs).last_hidden_state.mean(dim=1))
    return torch.cat(rows).numpy()


@pytest.mark.parametrize("merged", [False, True])
def test_an_adapter_of_peft_has_the_vectors_of_peft(base, adapters, merged):
    encoder = DenseEncoder(adapters[0], dtype="float32")
    expected = mean(PeftModel.from_pretrained(AutoModel.from_pretrained(base), adapters[0]).eval(), encoder)
    if merged:
        encoder.encode(TEXTS)  # Packed weights of the base model must not outlive the merge.
        encoder.merge_adapters()
        assert encoder.active_adapters() == []
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    assert not np.allclose(DenseEncoder(base, dtype="float32").encode(TEXTS), expected, atol=1e-2)


def test_several_adapters_at_once_and_one_after_the_other(base, adapters):
    encoder = DenseEncoder(base, dtype="float32")
    plain = encoder.encode(TEXTS)
    encoder.load_adapter(adapters[0], "one")
    encoder.load_adapter(adapters[1], "two")
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), adapters[0], "one").eval()
    model.load_adapter(adapters[1], "two")
    for names in (["one"], ["two"], ["one", "two"]):
        model.base_model.set_adapter(names)
        encoder.set_adapter(names)
        assert encoder.active_adapters() == names
        np.testing.assert_allclose(encoder.encode(TEXTS), mean(model, encoder), atol=1e-5)
    encoder.disable_adapters()
    np.testing.assert_allclose(encoder.encode(TEXTS), plain, atol=1e-6)
    encoder.enable_adapters()
    encoder.merge_adapters()
    np.testing.assert_allclose(encoder.encode(TEXTS), mean(model, encoder), atol=1e-5)
    with pytest.raises(InputError, match="there is no adapter 'three': there are none"):
        encoder.set_adapter("three")


def test_adapters_by_task_share_the_weights_that_they_leave_unchanged(base, adapters):
    encoder = DenseEncoder(base, dtype="float32")
    encoder.load_adapter(adapters[0], "q", task="query")
    encoder.load_adapter(adapters[1], "d")
    encoder.set_adapter("d", task="document")
    encoder.disable_adapters()
    one, two = (DenseEncoder(adapter, dtype="float32") for adapter in adapters)
    np.testing.assert_allclose(encoder.encode_query(TEXTS), one.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_document(TEXTS), two.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS), DenseEncoder(base, dtype="float32").encode(TEXTS), atol=1e-5)
    words = [encoder.engine_for(task).network[0].model.embeddings.word_embeddings.weight for task in (None, "query")]
    assert words[0] is words[1]
    assert encoder.identity["task_adapters"].keys() == {"query", "document"}


def test_the_identity_has_the_adapters(base, adapters):
    plain, one, two = (DenseEncoder(path, dtype="float32") for path in (base, *adapters))
    assert "adapters" not in plain.identity
    assert one.identity["weights_sha256"] == two.identity["weights_sha256"] == plain.identity["weights_sha256"]
    assert one.identity["adapters"] != two.identity["adapters"]
    plain.load_adapter(adapters[0], "any name")
    assert plain.identity["adapters"] == one.identity["adapters"]
    one.merge_adapters()
    assert plain.identity["adapters"] == one.identity["adapters"]


CASES = [
    (DenseEncoder, SentenceTransformer, None),
    (SparseEncoder, TheirSparse, BertForMaskedLM),
    (CrossEncoder, TheirCrossEncoder, BertForSequenceClassification),
    (MultiVectorEncoder, TheirMultiVector, None),
]


def outputs(encoder: Any) -> Any:
    if hasattr(encoder, "predict"):
        return np.asarray(encoder.predict([(text, TEXTS[0]) for text in TEXTS]))
    found = encoder.encode(TEXTS)
    if isinstance(found, TokenVectors):
        return found.vectors
    if isinstance(found, list):
        return np.concatenate([np.asarray(rows) for rows in found])
    return found.to_dense().numpy() if hasattr(found, "to_dense") else getattr(found, "toarray", lambda: found)()


@pytest.mark.parametrize(("ours", "theirs", "architecture"), CASES)
def test_adapters_go_from_sentence_transformers_to_here_and_back(ours, theirs, architecture, tmp_path):
    if ours is MultiVectorEncoder:
        path = write_colbert(tmp_path / "base")
        MultiVectorEncoder(path, dtype="float32").save(tmp_path / "saved")
        path = tmp_path / "saved"
    else:
        labels = {"num_labels": 1} if ours is CrossEncoder else {}
        path = write_bert(tmp_path / "base", *([architecture] if architecture else []), **labels)
    reference = theirs(str(path), device="cpu")
    reference.add_adapter(lora())
    randomize(reference)
    reference.eval()
    expected = outputs(reference)
    reference.save(str(tmp_path / "theirs"))
    assert (tmp_path / "theirs" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "theirs" / "model.safetensors").exists()

    mine = ours(tmp_path / "theirs", dtype="float32")
    np.testing.assert_allclose(outputs(mine), expected, atol=2e-5)
    mine.save(tmp_path / "mine")
    assert not (tmp_path / "mine" / "model.safetensors").exists()
    np.testing.assert_allclose(outputs(theirs(str(tmp_path / "mine"), device="cpu")), expected, atol=2e-5)
    np.testing.assert_allclose(outputs(ours(tmp_path / "mine", dtype="float32")), expected, atol=2e-5)

    mine.merge_adapters()
    np.testing.assert_allclose(outputs(mine), expected, atol=2e-5)
    mine.save(tmp_path / "whole")
    np.testing.assert_allclose(outputs(theirs(str(tmp_path / "whole"), device="cpu")), expected, atol=2e-5)


def test_an_adapter_that_was_added_is_saved_and_loaded(base, tmp_path):
    encoder = DenseEncoder(base, dtype="float32")
    encoder.add_adapter(lora())
    randomize(encoder.network)
    encoder.save(tmp_path / "adapter")
    again = DenseEncoder(tmp_path / "adapter", dtype="float32")
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    with pytest.raises(InputError, match="save the encoder"):
        encoder.recipe  # noqa: B018
    kind, model, arguments = again.recipe
    np.testing.assert_array_equal(kind(model, **arguments).encode(TEXTS), again.encode(TEXTS))


def test_worker_processes_have_the_adapters_that_were_loaded(base, adapters):
    encoder = DenseEncoder(base, dtype="float32")
    encoder.load_adapter(adapters[0], "one")
    kind, model, arguments = encoder.recipe
    np.testing.assert_array_equal(kind(model, **arguments).encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "adapter_config.json").write_text("{}"),
            "base_model_name_or_path names no base model",
        ),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "there are no adapter weights"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"no"), "the (model|module|adapter)"),
    ],
)
def test_damaged_adapters_are_refused(base, adapters, tmp_path, change, message):
    import shutil

    folder = tmp_path / "adapter"
    shutil.copytree(adapters[0], folder)
    change(folder)
    with pytest.raises(ModelError, match=message):
        DenseEncoder(folder)


def test_an_adapter_is_served_beside_its_base_model(base, adapters):
    folders = {"base": base, "one": adapters[0], "two": adapters[1]}
    entries = {name: ModelEntry(folder, "dense", "float32") for name, folder in folders.items()}
    with serving(ServeConfig(models=entries)) as (url, _):
        for name, folder in folders.items():
            answer = httpx.post(f"{url}/v1/embeddings", json={"model": name, "input": TEXTS}, timeout=60).json()
            served = np.array([row["embedding"] for row in answer["data"]], np.float32)
            np.testing.assert_allclose(served, DenseEncoder(folder, dtype="float32").encode(TEXTS), atol=1e-5)
