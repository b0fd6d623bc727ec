"""NV-Embed's vectors equal those of an independent implementation in float64."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy.special import erf

from checkpoints import MAX_LENGTH, WORDS, write_nv_embed
from indexing.errors import ModelError
from retrieve.encoders import DenseEncoder

INSTRUCTION = "instruct: the price of water query: "
TEXTS = [
    "",
    "water",
    "the energy of a wave",
    "fire fire fire light",
    "the market",
    "heat in it is a unknownword",
    " ".join(WORDS[at % len(WORDS)] for at in range(18)),
    " ".join(WORDS[(at * 5) % len(WORDS)] for at in range(60)),
]


def load(folder, **options) -> DenseEncoder:
    return DenseEncoder(folder, dtype="float32", device="cpu", **options)


class Reference:
    """NV-Embed as defined in its paper, one text at a time, in float64."""

    def __init__(self, folder) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {
            name: weight.astype(np.float64)
            for file in sorted(folder.glob("*.safetensors"))
            for name, weight in load_file(file).items()
        }
        pieces = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        self.ids = {piece.removeprefix("▁"): at for piece, at in pieces.items()}

    def encode(self, text: str, instruction: str = "") -> np.ndarray:
        words = (instruction + text).split(" ") if instruction + text else []
        ids = [1, *(self.ids.get(word, 0) for word in words), 2][:MAX_LENGTH]
        excluded = len(instruction.split(" ")) if instruction else 0
        tokens = self.attend_latents(self.decode(ids))
        pooled = tokens[excluded:].mean(axis=0)
        return pooled / np.sqrt((pooled**2).sum())

    def decode(self, ids: list[int]) -> np.ndarray:
        text, w = self.config["text_config"], lambda name: self.weights[f"embedding_model.{name}.weight"]
        heads, groups = text["num_attention_heads"], text["num_key_value_heads"]
        hidden = w("embed_tokens")[ids]
        count, width = hidden.shape
        size = width // heads
        angles = np.arange(count)[:, None] * text["rope_theta"] ** (-np.arange(0, size, 2) / size)
        cos, sin = np.tile(np.cos(angles), 2)[:, None], np.tile(np.sin(angles), 2)[:, None]

        def rms(vectors, scale):
            return scale * vectors / np.sqrt((vectors**2).mean(axis=-1, keepdims=True) + text["rms_norm_eps"])

        def rotate(vectors):
            low, high = np.split(vectors, 2, axis=-1)
            return vectors * cos + np.concatenate([-high, low], axis=-1) * sin

        for at in range(text["num_hidden_layers"]):
            layer = f"layers.{at}"
            normed = rms(hidden, w(f"{layer}.input_layernorm"))
            query, key, value = (
                (normed @ w(f"{layer}.self_attn.{name}_proj").T).reshape(count, number, size)
                for name, number in (("q", heads), ("k", groups), ("v", groups))
            )
            query, key = rotate(query), rotate(key)
            mixed = np.empty_like(query)
            for head in range(heads):
                group = head // (heads // groups)
                mixed[:, head] = softmax(query[:, head] @ key[:, group].T / np.sqrt(size)) @ value[:, group]
            hidden = hidden + mixed.reshape(count, width) @ w(f"{layer}.self_attn.o_proj").T
            normed = rms(hidden, w(f"{layer}.post_attention_layernorm"))
            gate, up = normed @ w(f"{layer}.mlp.gate_proj").T, normed @ w(f"{layer}.mlp.up_proj").T
            hidden = hidden + (gate / (1 + np.exp(-gate)) * up) @ w(f"{layer}.mlp.down_proj").T
        return rms(hidden, w("norm"))

    def attend_latents(self, hidden: np.ndarray) -> np.ndarray:
        settings = self.config["latent_attention_config"]
        attend, feed = "cross_attend_blocks.0", "cross_attend_blocks.1"
        w = {name.removeprefix("latent_attention_model."): weight for name, weight in self.weights.items()}

        def layer_norm(vectors, name):
            centred = vectors - vectors.mean(axis=-1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
            return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

        heads, size = settings["num_cross_heads"], settings["cross_dim_head"]
        query = layer_norm(hidden, f"{attend}.norm") @ w[f"{attend}.fn.to_q.weight"].T
        both = layer_norm(w["latents"], f"{attend}.norm_context") @ w[f"{attend}.fn.to_kv.weight"].T
        key, value = both[:, : heads * size], both[:, heads * size :]
        mixed = np.concatenate(
            [
                softmax(query[:, part] @ key[:, part].T / np.sqrt(size)) @ value[:, part]
                for part in (slice(head * size, (head + 1) * size) for head in range(heads))
            ],
            axis=1,
        )
        hidden = hidden + mixed @ w[f"{attend}.fn.to_out.weight"].T
        wide = layer_norm(hidden, f"{feed}.norm") @ w[f"{feed}.fn.net.0.weight"].T + w[f"{feed}.fn.net.0.bias"]
        values, gates = np.split(wide, 2, axis=-1)
        gated = values * gates * 0.5 * (1 + erf(gates / np.sqrt(2)))
        return hidden + gated @ w[f"{feed}.fn.net.2.weight"].T + w[f"{feed}.fn.net.2.bias"]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("layout", ["bare", "modules"])
@pytest.mark.parametrize("instruction", ["", INSTRUCTION], ids=["plain", "instructed"])
def test_vectors_are_those_of_the_definition(tmp_path, layout, instruction):
    folder = write_nv_embed(tmp_path / "nv", layout=layout)
    expected = np.stack([Reference(folder).encode(text, instruction) for text in TEXTS])

    encoder = load(folder)

    assert encoder.dimension == 16 and encoder.max_length == MAX_LENGTH
    for budget in (None, 1, 40):
        vectors = encoder.encode(TEXTS, prompt=instruction, token_budget=budget)
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    for at, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode(text, prompt=instruction), expected[at], rtol=0, atol=1e-5)


def test_bfloat16_stays_close(tmp_path):
    folder = write_nv_embed(tmp_path / "nv")

    vectors = DenseEncoder(folder, dtype="bfloat16", device="cpu").encode(TEXTS)

    assert vectors.dtype == np.float32
    assert (vectors * load(folder).encode(TEXTS)).sum(axis=1).min() > 0.98


def test_the_instruction_is_read_but_not_pooled(tmp_path):
    folder = write_nv_embed(tmp_path / "nv")
    encoder, reference = load(folder), Reference(folder)

    instructed = encoder.encode("the energy", prompt=INSTRUCTION)

    assert abs(instructed - encoder.encode("the energy")).max() > 1e-3
    everything = reference.attend_latents(
        reference.decode([1, *(reference.ids[word] for word in f"{INSTRUCTION}the energy".split()), 2])
    ).mean(axis=0)
    assert abs(instructed - everything / np.linalg.norm(everything)).max() > 1e-3


def test_later_tokens_change_earlier_ones(tmp_path):
    encoder = load(write_nv_embed(tmp_path / "nv"))

    offsets, vectors = encoder.encode_tokens(["water light", "water fire"])

    assert np.diff(offsets).tolist() == [4, 4]
    assert abs(vectors[1] - vectors[5]).max() > 1e-3


def test_weights_that_change_change_the_vectors(tmp_path):
    encoder = load(write_nv_embed(tmp_path / "nv"))
    before = encoder.encode("water")
    attend = encoder.input.model.latent_attention_model.cross_attend_blocks[0]

    with torch.no_grad():
        attend.fn["to_kv"].weight.mul_(-1)
    turned = encoder.encode("water")
    attend.fn["to_kv"].load_state_dict({"weight": -attend.fn["to_kv"].weight.detach()})

    assert abs(turned - before).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode("water"), before)


def test_gradients_reach_the_latents_and_every_layer_can_be_pooled(tmp_path):
    transformer = load(write_nv_embed(tmp_path / "nv")).input
    tokens = transformer.tokenize(["water light", "fire"])
    features = {name: torch.from_numpy(array) for name, array in tokens.padded(np.arange(2)).items()}

    vectors = transformer(dict(features))["token_embeddings"]
    states = transformer.hidden_states(features)
    vectors.sum().backward()

    assert len(states) == 3
    torch.testing.assert_close(states[-1], vectors)
    assert transformer.model.latent_attention_model.latents.grad.abs().max() > 0


def test_a_text_that_ends_in_the_end_token_gets_no_second(tmp_path):
    encoder = load(write_nv_embed(tmp_path / "nv"))

    np.testing.assert_array_equal(encoder.encode("the price</s>"), encoder.encode("the price"))


def test_settings_of_the_configuration_are_obeyed(tmp_path):
    whole = load(write_nv_embed(tmp_path / "whole"))
    pooled = load(write_nv_embed(tmp_path / "pooled", is_mask_instruction=False))
    bare = load(write_nv_embed(tmp_path / "bare", add_eos=False))

    assert abs(whole.encode("water", prompt=INSTRUCTION) - pooled.encode("water", prompt=INSTRUCTION)).max() > 1e-3
    np.testing.assert_array_equal(whole.encode("water"), pooled.encode("water"))
    assert abs(whole.encode("water") - bare.encode("water")).max() > 1e-3


@pytest.mark.parametrize("layout", ["bare", "modules"])
def test_what_is_saved_is_read_again(tmp_path, layout):
    first = load(write_nv_embed(tmp_path / "nv", layout=layout))
    vectors = first.encode(TEXTS, prompt=INSTRUCTION)

    first.save(tmp_path / "saved")

    again = load(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(TEXTS, prompt=INSTRUCTION), vectors)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["model_type"] == "nvembed" and config["architectures"] == ["NVEmbedModel"]
    assert config["auto_map"]["AutoModel"] == "nvidia/NV-Embed-v2--modeling_nvembed.NVEmbedModel"
    held = {name.partition(".")[0] for name in load_file(tmp_path / "saved" / "model.safetensors")}
    assert held == {"embedding_model", "latent_attention_model"}
    np.testing.assert_allclose(Reference(tmp_path / "saved").encode("water"), again.encode("water"), atol=1e-5)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("latent_attention_model.latents", r'latent_attention_model\.\* do not fit .*"latents"'),
        ("embedding_model.norm.weight", r"lacks the weights embedding_model\.norm\.weight"),
    ],
)
def test_a_missing_weight_is_named(tmp_path, lost, said):
    folder = write_nv_embed(tmp_path / "nv")
    for file in folder.glob("*.safetensors"):
        held = load_file(file)
        held.pop(lost, None)
        save_file(held, file, metadata={"format": "pt"})

    with pytest.raises(ModelError, match=said):
        load(folder)


def test_widths_that_do_not_fit_and_another_decoder_are_refused(tmp_path):
    folder = write_nv_embed(tmp_path / "wide", latent_attention_config={})
    with pytest.raises(ModelError, match="hidden_dim 4096"):
        load(folder)
    folder = write_nv_embed(tmp_path / "other", text_config={"model_type": "llama"})
    with pytest.raises(ModelError, match="'llama'"):
        load(folder)
