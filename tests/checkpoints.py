"""Tiny checkpoints with random weights, for tests of every floor."""

import json
import string
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, LlamaConfig, LlamaForCausalLM

WORDS = [
    "the",
    "a",
    "of",
    "to",
    "and",
    "is",
    "in",
    "it",
    "cell",
    "light",
    "energy",
    "water",
    "wave",
    "vaccine",
    "stock",
    "price",
    "market",
    "fire",
    "heat",
]
# fmt: on
MAX_LENGTH = 24


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_bert(folder: Path, architecture: type = BertModel, *, seed: int = 0, **settings: Any) -> Path:
    """A BERT of two layers whose WordPiece vocabulary spells any ASCII word."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters[1:], *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=MAX_LENGTH)
    torch.manual_seed(seed)
    # A wide spread of weights, so that a wrong mask or a lost token shows in every dimension.
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
        **({"max_position_embeddings": 40} | settings),
    )
    architecture(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def llama_config(tokenizer: Any, **settings: Any) -> LlamaConfig:
    """Configuration of a decoder of two layers."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **sizes, **settings)


def write_decoder(folder: Path) -> Path:
    """A causal language model of two layers whose tokenizer knows "yes" and "no"."""
    write_bert(folder)
    with (folder / "vocab.txt").open("a", encoding="utf-8") as vocabulary:
        vocabulary.write("\nyes\nno")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=MAX_LENGTH)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = llama_config(tokenizer, num_key_value_heads=2, max_position_embeddings=64)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_nv_embed(folder: Path, *, layout: str = "bare", **settings: Any) -> Path:
    """NV-Embed-v2's own layout with a decoder of two layers: a Metaspace tokenizer that knows WORDS, <s> before texts.

    `layout` "modules" adds the modules.json of the published checkpoint; `settings` go into config.json.
    """
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import MistralConfig, MistralModel, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    pieces = ["<unk>", "<s>", "</s>", "\u2581", *(f"\u2581{word}" for word in [*WORDS, "query:", "instruct:"])]
    core = Tokenizer(models.WordLevel({piece: at for at, piece in enumerate(pieces)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", model_max_length=MAX_LENGTH
    )
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(pieces),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100.0,
        "sliding_window": 4,
    }
    latent = {"num_latents_value": 5, "num_cross_heads": 2, "hidden_dim": 16, "latent_dim": 16, "cross_dim_head": 6}
    torch.manual_seed(7)
    backbone = MistralModel(MistralConfig(**text)).state_dict()
    shapes = {
        "latents": (5, 16),
        "cross_attend_blocks.0.fn.to_q.weight": (12, 16),
        "cross_attend_blocks.0.fn.to_kv.weight": (24, 16),
        "cross_attend_blocks.0.fn.to_out.weight": (16, 12),
        "cross_attend_blocks.0.norm.weight": (16,),
        "cross_attend_blocks.0.norm.bias": (16,),
        "cross_attend_blocks.0.norm_context.weight": (16,),
        "cross_attend_blocks.0.norm_context.bias": (16,),
        "cross_attend_blocks.1.fn.net.0.weight": (128, 16),
        "cross_attend_blocks.1.fn.net.0.bias": (128,),
        "cross_attend_blocks.1.fn.net.2.weight": (16, 64),
        "cross_attend_blocks.1.fn.net.2.bias": (16,),
        "cross_attend_blocks.1.norm.weight": (16,),
        "cross_attend_blocks.1.norm.bias": (16,),
    }
    weights = {f"embedding_model.{name}": torch.randn(weight.shape) * 0.4 for name, weight in backbone.items()}
    weights |= {f"latent_attention_model.{name}": torch.randn(shape) * 0.4 for name, shape in shapes.items()}
    # Two files and an index, as the published checkpoint has four.
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    placed = {name: file for file, held in shards.items() for name in held}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": placed})
    write_json(
        folder / "config.json",
        {
            "architectures": ["NVEmbedModel"],
            "auto_map": {
                "AutoConfig": "configuration_nvembed.NVEmbedConfig",
                "AutoModel": "modeling_nvembed.NVEmbedModel",
            },
            "model_type": "nvembed",
            "add_eos": True,
            "add_pad_token": True,
            "hidden_size": 16,
            "is_mask_instruction": True,
            "mask_type": "b",
            "padding_side": "right",
            "torch_dtype": "float32",
            "text_config": {"model_type": "bidir_mistral", "architectures": ["MistralModel"], **text},
            "latent_attention_config": {"model_type": "latent_attention", **latent},
            **settings,
        },
    )
    if layout == "modules":
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        entries = [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
            for at, (path, name) in enumerate(modules)
        ]
        write_json(folder / "modules.json", entries)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_LENGTH, "do_lower_case": False})
        pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "include_prompt": False}
        write_json(folder / "1_Pooling" / "config.json", pooling)
    return folder
