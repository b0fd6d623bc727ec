"""Multi-vector checkpoints of every layout give sentence-transformers' vectors and scores, and load there again."""

import json
import string
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from sentence_transformers.multi_vector_encoder.scoring.xtr import xtr_scores as their_xtr_scores
from sentence_transformers.util.similarity import maxsim, maxsim_pairwise, mean_maxsim, mean_maxsim_pairwise
from transformers import AutoTokenizer, BertModel, BertTokenizerFast

from checkpoints import MAX_LENGTH, write_bert, write_json
from indexing.max_sim import max_sim, max_sim_pairwise, xtr_scores
from indexing.token_vectors import TokenVectors
from retrieve import DenseEncoder, MultiVectorEncoder
from retrieve.encoders.modules.token_pooling import pool_tokens

TEXTS = ["", "water", "naïve café, 日本語 😀!", "the energy, of a wave. " * 12, "HEAT and FIRE", "!?", "water"]
TASKS = ("encode_query", "encode_document", "encode")
PUNCTUATION = list(string.punctuation)


def ours(folder: Path, **options) -> MultiVectorEncoder:
    return MultiVectorEncoder(folder, dtype="float32", device="cpu", **options)


def reference(folder: Path) -> theirs.MultiVectorEncoder:
    return theirs.MultiVectorEncoder(str(folder), device="cpu")


def assert_equal(encoder: MultiVectorEncoder, other: theirs.MultiVectorEncoder) -> None:
    for method in TASKS:
        expected = getattr(other, method)(TEXTS, convert_to_numpy=True)
        found = getattr(encoder, method)(TEXTS, convert_to="list")
        assert [len(text) for text in found] == [len(text) for text in expected], method
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-5, err_msg=method)


def projection(width: int = 8, **options) -> Dense:
    options = {"bias": False, "activation_function": torch.nn.Identity()} | options
    return Dense(32, width, module_input_name="token_embeddings", **options)


def unit() -> Normalize:
    return Normalize(module_input_name="token_embeddings")


def native_modules(path: str, name: str) -> list:
    fixed = {"strategy": "fixed", "length": 12}
    return {
        "classic": lambda: [
            Transformer(path, query_expansion=fixed, document_length=20),
            projection(),
            MultiVectorMask(PUNCTUATION),
            unit(),
        ],
        "attended": lambda: [
            Transformer(path, query_expansion=fixed | {"attend": True}),
            projection(),
            MultiVectorMask(PUNCTUATION, skiplist_tasks=["query", "document"]),
            unit(),
        ],
        "minimum": lambda: [
            Transformer(path, query_expansion={"strategy": "min", "length": 9, "token": "[SEP]"}, query_length=16),
            projection(),
            MultiVectorMask(),
            unit(),
        ],
        "lengths": lambda: [
            Transformer(path, query_length=6, document_length=11),
            projection(16, bias=True, activation_function=torch.nn.Tanh()),
            Dense(16, 8, module_input_name="token_embeddings", activation_function=torch.nn.GELU()),
            MultiVectorMask(["a", "of", "unknownword"]),
        ],
        "chosen tokens": lambda: [Transformer(path), MultiVectorMask(keep_only_token_ids=[5, 6, 7, 14]), unit()],
        "pooled": lambda: [
            Transformer(path),
            projection(),
            MultiVectorMask(PUNCTUATION),
            unit(),
            HierarchicalTokenPooling(2.5, num_protected_tokens=2),
        ],
    }[name]()


NATIVE = ["classic", "attended", "minimum", "lengths", "chosen tokens", "pooled"]


@pytest.mark.parametrize("name", NATIVE)
def test_native_checkpoints_give_equal_vectors_and_survive_saving_here(tmp_path, name):
    torch.manual_seed(3)
    modules = native_modules(str(write_bert(tmp_path / "bert")), name)
    settings = {"prompts": {"query": "a ", "document": "of "}, "similarity_fn_name": "meanmaxsim"}
    theirs.MultiVectorEncoder(modules=modules, device="cpu", **settings).save(str(tmp_path / "theirs"))

    encoder = ours(tmp_path / "theirs")
    assert_equal(encoder, reference(tmp_path / "theirs"))

    encoder.save(tmp_path / "ours")
    again = reference(tmp_path / "ours")
    assert again.similarity_fn_name == encoder.similarity_fn_name == "meanmaxsim"
    assert_equal(encoder, again)
    saved_here = ours(tmp_path / "ours")
    assert_equal(saved_here, again)
    assert saved_here.identity["modules"] == encoder.identity["modules"]


def write_pylate(folder: Path, settings: dict) -> Path:
    """PyLate's layout: a transformer and a projection of its own class, settings beside sentence-transformers'."""
    write_bert(folder)
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.pad_token = tokenizer.mask_token
    model = BertModel.from_pretrained(folder)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    types = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
    entries = [{"idx": at, "name": str(at), "path": path, "type": types[path]} for at, path in enumerate(types)]
    write_json(folder / "modules.json", entries)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_LENGTH, "do_lower_case": False})
    write_json(
        folder / "1_Dense" / "config.json",
        {
            "in_features": 32,
            "out_features": 8,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    save_file({"linear.weight": torch.randn(8, 32)}, folder / "1_Dense" / "model.safetensors")
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "MaxSim"} | settings)
    return folder


PREFIXES = {"query_prefix": "[Q] ", "document_prefix": "[D] "}
PYLATE = {
    "1.0": PREFIXES
    | {"query_length": 10, "document_length": 18, "attend_to_expansion_tokens": False, "skiplist_words": PUNCTUATION},
    "1.3.0": PREFIXES | {"query_length": 10, "do_query_expansion": False, "skiplist_words": ["a"]},
    "1.3.3": PREFIXES
    | {
        "model_type": "ColBERT",
        "query_length": 10,
        "document_length": 18,
        "do_query_expansion": True,
        "attend_to_expansion_tokens": True,
        "skiplist_words": [],
    },
    "no lists": PREFIXES | {"model_type": "ColBERT"},
    "prompts": PREFIXES
    | {"model_type": "ColBERT", "query_length": 14, "prompts": {"query": "[Q] water ", "document": "fire "}},
    "unknown prefixes": {"model_type": "ColBERT", "query_prefix": "query: ", "document_prefix": "", "query_length": 12},
}


@pytest.mark.parametrize("release", sorted(PYLATE))
def test_pylate_checkpoints(tmp_path, release):
    folder = write_pylate(tmp_path / "pylate", PYLATE[release])
    encoder = ours(folder)
    assert_equal(encoder, reference(folder))
    assert encoder.similarity_fn_name == "maxsim"

    encoder.save(tmp_path / "saved")
    assert_equal(encoder, reference(tmp_path / "saved"))
    assert_equal(ours(tmp_path / "saved"), reference(tmp_path / "saved"))


def write_stanford(folder: Path, metadata: dict | None) -> Path:
    """Stanford ColBERT's layout: one file of weights with the projection beside the transformer's."""
    write_bert(folder)
    # The vocabulary of BERT has tokens to spare for markers.
    words = (folder / "vocab.txt").read_text("utf-8").split("\n")
    words[words.index("stock")], words[words.index("price")] = "[unused0]", "[unused1]"
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=MAX_LENGTH).save_pretrained(folder)
    weights = {f"bert.{name}": weight for name, weight in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(6)
    save_file(weights | {"linear.weight": torch.randn(8, 32)}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"architectures": ["HF_ColBERT"]})
    if metadata is not None:
        write_json(folder / "artifact.metadata", metadata)
    return folder


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 9, "doc_maxlen": 15},
        {"query_maxlen": 12, "attend_to_mask_tokens": True, "mask_punctuation": False, "similarity": "l2"},
    ],
)
def test_stanford_checkpoints(tmp_path, metadata):
    folder = write_stanford(tmp_path / "stanford", metadata)
    assert_equal(ours(folder), reference(folder))

    ours(folder).save(tmp_path / "saved")
    assert_equal(ours(folder), reference(tmp_path / "saved"))


def test_minilm_with_a_projection(tmp_path, minilm_path):
    torch.manual_seed(1)
    dense = Dense(384, 48, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    expansion = {"strategy": "fixed", "length": 32}
    modules = [Transformer(minilm_path, query_expansion=expansion), dense, MultiVectorMask(PUNCTUATION), unit()]
    theirs.MultiVectorEncoder(modules=modules, device="cpu").save(str(tmp_path / "model"))
    assert_equal(ours(tmp_path / "model"), reference(tmp_path / "model"))


def test_a_dense_model_has_the_task_lengths_of_its_checkpoint_too(tmp_path):
    path = str(write_bert(tmp_path / "bert"))
    pooling = theirs.sentence_transformer.modules.Pooling(32)
    model = theirs.SentenceTransformer(
        modules=[Transformer(path, query_length=6, document_length=11), pooling], device="cpu"
    )
    model.save(str(tmp_path / "dense"))
    encoder = DenseEncoder(tmp_path / "dense", dtype="float32", device="cpu")
    for method in TASKS:
        expected = getattr(model, method)(TEXTS)
        np.testing.assert_allclose(getattr(encoder, method)(TEXTS), expected, rtol=0, atol=1e-5, err_msg=method)


@pytest.fixture(scope="module")
def ragged() -> tuple[TokenVectors, TokenVectors]:
    rng = np.random.default_rng(0)
    queries = [rng.standard_normal((count, 8)).astype(np.float32) for count in (1, 5, 32, 3)]
    documents = [rng.standard_normal((count, 8)).astype(np.float32) for count in (7, 0, 1, 60, 12, 3, 3)]
    return TokenVectors.of(queries), TokenVectors.of(documents)


def tensors(vectors: TokenVectors) -> list[torch.Tensor]:
    return [torch.from_numpy(text) for text in vectors.to_list()]


@pytest.mark.parametrize("block_elements", [1, 500, 4_000_000])
def test_scores_of_all_pairs(ragged, block_elements):
    queries, documents = ragged
    found = max_sim(queries, documents, block_elements=block_elements)
    np.testing.assert_allclose(found, maxsim(tensors(queries), tensors(documents)), rtol=1e-5, atol=1e-5)
    found = max_sim(queries, documents, mean=True, block_elements=block_elements)
    np.testing.assert_allclose(found, mean_maxsim(tensors(queries), tensors(documents)), rtol=1e-5, atol=1e-5)


def test_scores_of_given_pairs(ragged):
    queries, documents = ragged[0], ragged[1].slice(0, 4)
    both = tensors(queries), tensors(documents)
    np.testing.assert_allclose(max_sim_pairwise(queries, documents), maxsim_pairwise(*both), rtol=1e-5)
    np.testing.assert_allclose(max_sim_pairwise(queries, documents, mean=True), mean_maxsim_pairwise(*both), rtol=1e-5)


@pytest.mark.parametrize("top_k", [1, 4, 1000])
def test_xtr_scores(ragged, top_k):
    queries, documents = ragged[0], TokenVectors.of([text for text in ragged[1].to_list() if len(text)][:4])
    padded = [torch.nn.utils.rnn.pad_sequence(tensors(side), batch_first=True) for side in (queries, documents)]
    expected = their_xtr_scores(padded[0], padded[1][:, None], top_k=top_k)
    np.testing.assert_allclose(xtr_scores(queries, documents, top_k=top_k), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("factor", "protected"), [(1.0, 1), (2.0, 0), (2.5, 1), (3.0, 3), (100.0, 2)])
@pytest.mark.parametrize("tokens", [0, 1, 2, 9, 40])
def test_pooling_of_stored_vectors(factor, protected, tokens):
    vectors = torch.nn.functional.normalize(torch.randn(tokens, 8, generator=torch.Generator().manual_seed(2)), dim=-1)
    theirs_pooling = HierarchicalTokenPooling(factor, num_protected_tokens=protected)
    expected = theirs_pooling.pool([vectors])[0]
    found = pool_tokens(vectors.numpy(), factor, protected=protected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_pooling_at_encoding(tmp_path):
    modules = native_modules(str(write_bert(tmp_path / "bert")), "classic")
    theirs.MultiVectorEncoder(modules=modules, device="cpu").save(str(tmp_path / "model"))
    pooling = HierarchicalTokenPooling(2.0)
    encoder, other = ours(tmp_path / "model"), reference(tmp_path / "model")
    for method in TASKS:
        expected = getattr(other, method)(TEXTS, convert_to_numpy=True, token_pooling=pooling)
        found = getattr(encoder, method)(TEXTS, convert_to="list", pool_factor=2.0)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-5, err_msg=method)


def test_markers_stay_whole_after_saving(tmp_path):
    folder = write_stanford(tmp_path / "stanford", None)
    ours(folder).save(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").tokenize("[unused0] water") == ["[unused0]", "water"]
